"""What a reward function looks into the sandbox with."""

from __future__ import annotations

import asyncio
import os
import posixpath
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, NoReturn, TypeVar

from ..core.suggest import unknown
from ..errors import UsageError
from ..judging import Judge, Judging, current_judging
from ..sandbox.protocol import Sandbox
from ..sandbox.transfer import download_dir, download_file, upload_dir, upload_file
from ..verdict import VerifierMode
from .bridge import wait_for_sync
from .contents import as_text, read_whole, write_whole
from .dispatch import BadCall, check_arguments, run_tool
from .paths import in_sandbox
from .registry import release, session_for
from .searching import find_lines
from .session import SandboxSession
from .terminal import TerminalArguments, run_command
from .tool import ToolProblem
from .toolsets import resolve_toolsets

T = TypeVar("T")

#: Characters of the terminal's output that are remembered for `output_tail`.
_REMEMBERED = 100_000


def _not_yet(name: str) -> Callable[..., NoReturn]:
    """Return a method that other Hermes environments have."""

    def method(self: ToolContext, *args: object, **kwargs: object) -> NoReturn:
        """Not in this version: raises UsageError."""
        raise UsageError(f"ctx.{name}() is not part of this version yet; there are terminal and file tools")

    return method


class ToolContext:
    """The sandbox an agent worked in, for who verifies its work. No method is awaited.

    It sees the agent's files and processes, but has a shell of its own: it starts in the sandbox's working directory
    with the sandbox's own variables, so that nothing the agent left in its shell (a function called `cat`, a PATH, a
    `cd`) can fool a verifier.

    Within `compute_reward` calls do not stall other attempts; elsewhere they block the calling thread. Results are
    dicts. What the agent can be blamed for (a missing file, a command that fails) stands in them; InfrastructureError
    is raised when the sandbox itself fails.

    Built by hand, `ToolContext(task_id)` finds the sandbox that tools with this id used, or starts one at first use;
    `cleanup()` closes it.
    """

    def __init__(
        self, task_id: str, *, session: SandboxSession | None = None, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.task_id = task_id
        #: Seconds that the verifier may take, where an attempt says so.
        self.verifier_seconds: float | None = None
        #: Where the user wants tests to run; None: he did not say.
        self.verifier_mode: VerifierMode | None = None
        #: Who judges, where an attempt or a test says so.
        self.judging: Judging | None = None
        self._given = session
        if session is not None and loop is not None:
            session.settle(loop)
        self._own: SandboxSession | None = None
        self._outputs: deque[str] = deque()
        self._remembered = 0

    def terminal(self, command: str, timeout: float | None = None) -> dict[str, Any]:
        """Run a bash command and return `output` (stdout and stderr in order), `exit_code` and `error`.

        `timeout` is in seconds; when it ends, the command is killed, its exit code is 124 and `error` says so.
        """
        return self._wait(self._terminal(command, timeout))

    def read_file(self, path: str) -> dict[str, Any]:
        """Return the whole text of a file as `content`, at most 10 MB; it is None when there is an `error`.

        What is not UTF-8 becomes U+FFFD; binary files are an error: `download_file` copies them.
        """
        return self._wait(self._read_file(path))

    def write_file(self, path: str, content: str | bytes) -> dict[str, Any]:
        """Write a file, with its parent folders if need be; return `bytes_written`, and `error` if it failed."""
        return self._wait(self._write_file(path, content))

    def search(self, query: str, path: str = ".", *, file_glob: str | None = None, limit: int = 50) -> dict[str, Any]:
        """Return `matches` (`path`, `line`, `text`) of an extended regular expression in the files below `path`."""
        return self._wait(self._search(query, path, file_glob, limit))

    def upload_file(self, local: str | os.PathLike[str], remote: str) -> dict[str, Any]:
        """Copy a file into the sandbox, with its parent folders; return `success` and `error`.

        Raises OSError when there is no `local`.
        """
        os.stat(local)  # a mistake of the caller, unlike what goes wrong from here on
        return self._wait(self._copy(lambda sandbox, path: upload_file(sandbox, local, path), remote))

    def upload_dir(self, local: str | os.PathLike[str], remote: str) -> dict[str, Any]:
        """Copy the content of a folder into the folder `remote`. Returns and raises like `upload_file`."""
        os.stat(local)
        return self._wait(self._copy(lambda sandbox, path: upload_dir(sandbox, local, path), remote))

    def download_file(self, remote: str, local: str | os.PathLike[str]) -> dict[str, Any]:
        """Copy a file out of the sandbox; return `success` and `error`."""
        return self._wait(self._copy(lambda sandbox, path: download_file(sandbox, path, local), remote))

    def download_dir(self, remote: str, local: str | os.PathLike[str]) -> dict[str, Any]:
        """Copy the content of a folder into the folder `local`; return `success`, `error` and `left_out`.

        `left_out` names what is not copied, because it is not safe on the host: devices, links that lead outside.
        """
        left_out: list[str] = []

        async def copy(sandbox: Sandbox, path: str) -> None:
            left_out.extend(await download_dir(sandbox, path, local))

        return {**self._wait(self._copy(copy, remote)), "left_out": left_out}

    def call_tool(self, name: str, args: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call any installed tool and return its result, or `error` when it cannot be called like that."""
        tools = {tool.name: tool for tool in resolve_toolsets()}
        if name not in tools:
            return {"error": unknown("tool", name, tools)}
        try:
            checked = check_arguments(tools[name], args or {})
        except BadCall as problem:
            return {"error": str(problem)}
        outcome = self._wait(run_tool(tools[name], checked, self._session()))
        return outcome.result if outcome.result is not None else {"error": outcome.error}

    @property
    def judge(self) -> Judge:
        """The judge model (`--hermes-judge-model`), for `llm_judge` or to be asked by `chat_completion`, with `await`.

        Its answers are counted and paid for apart from the agent's. In `hermes-env` it is the environment's `server`.
        Raises UsageError when there is none.
        """
        return (self.judging or current_judging() or Judging()).judge

    def cleanup(self) -> None:
        """Close the sandbox of a context built by hand; one that an attempt handed out is closed by the attempt."""
        self._own = None
        if self._given is None and (session := release(self.task_id)) is not None:
            wait_for_sync(session.close(), session.loop)

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox itself, started. Its methods belong to the loop it lives on: see `at_session`."""
        session = self._session()
        return self._wait(session.start())

    def at_session(self, function: Callable[[SandboxSession], Coroutine[Any, Any, T]]) -> T:
        """Return what an async function returns; it gets the session the agent worked in, and runs on its loop.

        For verifiers that need the sandbox itself: its commands' streams, a second sandbox.
        """
        session = self._session()
        return self._wait(function(session))

    #: The earlier name of `at_session`.
    at_place = at_session

    def output_tail(self, characters: int) -> str:
        """Return the end of what `terminal` was asked and answered so far."""
        return "\n".join(self._outputs)[-characters:] if characters > 0 else ""

    web_search = _not_yet("web_search")
    web_extract = _not_yet("web_extract")
    browser_navigate = _not_yet("browser_navigate")
    browser_snapshot = _not_yet("browser_snapshot")

    def _session(self) -> SandboxSession:
        if self._own is None:
            self._own = (self._given or session_for(self.task_id)).beside()
        return self._own

    def _wait(self, coro: Coroutine[Any, Any, T]) -> T:
        try:
            loop = self._session().loop
        except BaseException:
            coro.close()
            raise
        return wait_for_sync(coro, loop)

    async def _terminal(self, command: str, timeout: float | None) -> dict[str, Any]:
        result = await run_command(self._session(), TerminalArguments(command=command, timeout=timeout))
        self._remember(f"$ {command}\n{result['output']}\n[exit code {result['exit_code']}]")
        return result

    async def _read_file(self, path: str) -> dict[str, Any]:
        try:
            return {"content": as_text(await read_whole(self._session(), path), path), "error": None}
        except ToolProblem as problem:
            return {"content": None, "error": str(problem)}

    async def _write_file(self, path: str, content: str | bytes) -> dict[str, Any]:
        data = content.encode() if isinstance(content, str) else content
        try:
            created = await write_whole(self._session(), path, data)
        except ToolProblem as problem:
            return {"error": str(problem)}
        return {"path": path, "bytes_written": len(data), "created": created, "error": None}

    async def _search(self, query: str, path: str, file_glob: str | None, limit: int) -> dict[str, Any]:
        try:
            found = await find_lines(self._session(), query, path, file_glob, limit)
        except ToolProblem as problem:
            return {"matches": [], "error": str(problem)}
        return {"matches": found.matches, "more": found.more, "error": None}

    async def _copy(self, copy: Callable[[Sandbox, str], Awaitable[None]], remote: str) -> dict[str, Any]:
        shell = await self._session().shell()
        sandbox = self._session().sandbox
        path = posixpath.join(await shell.cwd(), in_sandbox(remote, sandbox.home))
        try:
            await copy(sandbox, path)
        except OSError as error:
            return {"success": False, "error": f"{type(error).__name__}: {error}"}
        return {"success": True, "error": None}

    def _remember(self, text: str) -> None:
        self._outputs.append(text)
        self._remembered += len(text)
        while self._remembered > _REMEMBERED and len(self._outputs) > 1:
            self._remembered -= len(self._outputs.popleft())

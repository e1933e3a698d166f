"""A terminal session: what one command leaves behind, the next one finds."""

from __future__ import annotations

import secrets
from typing import BinaryIO

from .protocol import DEFAULT_MAX_OUTPUT, ExecResult, Process, Sandbox
from .scripts import shell_script


class Shell:
    """A terminal session in any sandbox that has bash, or at least a POSIX shell.

    Every command gets a shell of its own. The folder it is in, exported variables and functions (of bash) pass from one
    to the next; shell options and other variables do not. A command that is killed, or replaces its shell by `exec`,
    leaves the session as it was before. Commands may run at the same time; what the last one to end left is kept.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._kind = "bash" if sandbox.shell == "bash" else "posix"
        self._state = f"{sandbox.scratch}/session-{secrets.token_hex(4)}"
        #: Numbers of the files that commands save their state to before it becomes the session's.
        self._free: list[int] = []
        self._files = 0

    async def run(
        self, command: str, *, timeout: float | None = None, max_output: int = DEFAULT_MAX_OUTPUT
    ) -> ExecResult:
        """Run a command with the null device as its input, and return when its bash ends.

        `stdout` of the result holds both streams in the order in which they were written. `timeout` is in seconds.
        NUL bytes in the command are left out, as shells do it.
        """
        if not self._free:
            self._files += 1
            self._free.append(self._files)
        number = self._free.pop()
        argv = self._argv(f"{self._kind}_run_and_save", f"{self._state}.{number}")
        result = await self._sandbox.exec(
            argv, cwd="/", stdin=_encoded(command), timeout=timeout, max_output=max_output
        )
        if not result.timed_out:  # what was cut short may still be writing, where killing takes its time
            self._free.append(number)
        return result

    async def spawn(self, command: str, *, max_output: int = DEFAULT_MAX_OUTPUT) -> Process:
        """Start a command in the background; it finds the session's state and never changes it.

        Both of its streams are read as one, from stdout.
        """
        return await self._sandbox.spawn(self._argv("run"), cwd="/", stdin=_encoded(command), max_output=max_output)

    async def script(
        self,
        script: str,
        *args: str,
        stdin: bytes | BinaryIO = b"",
        timeout: float | None = None,
        max_output: int = DEFAULT_MAX_OUTPUT,
        stdout_to: BinaryIO | None = None,
    ) -> ExecResult:
        """Run a script of the harness in the session's folder, but without its variables and functions.

        It is for POSIX shells. `args` are its `$1`, `$2`, …; script and arguments together must stay below 100 KiB.
        """
        return await self._sandbox.exec(
            [*self._begin(f"{self._kind}_script"), script, *args],
            cwd="/",
            stdin=stdin,
            timeout=timeout,
            max_output=max_output,
            stdout_to=stdout_to,
        )

    async def cwd(self) -> str:
        """Return the folder in which the next command will start."""
        result = await self.script("pwd")
        return result.stdout.decode(errors="surrogateescape").removesuffix("\n")

    def _argv(self, main: str, new_state: str = "") -> list[str]:
        return [*self._begin(main, shell_script(f"{self._kind}_session")), new_state]

    def _begin(self, main: str, *first: str) -> list[str]:
        """Return a command of the script `main` and its arguments up to those that say where the session is."""
        # Without what a task's variables would have bash read at its start.
        interpreter = ["bash", "-p", "-c"] if self._kind == "bash" else ["sh", "-c"]
        sandbox = self._sandbox
        return [
            *interpreter, shell_script(main), sandbox.shell, *first, self._state, sandbox.workdir, sandbox.home
        ]  # fmt: skip


def _encoded(command: str) -> bytes:
    return command.replace("\0", "").encode(errors="surrogateescape")

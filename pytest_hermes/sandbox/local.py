"""Commands on this machine, with bubblewrap around them where it works."""

from __future__ import annotations

import asyncio
import os
import posixpath
import shlex
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Literal, get_args

from ..core.shielded import Shielded
from ..core.suggest import unknown
from ..errors import InfrastructureError, Unsupported, UsageError
from ..task import SandboxSpec
from . import bubblewrap, privacy
from .folder import SandboxFolder
from .local_options import LocalOptions
from .memory_file import copied_file, memory_file
from .mounts import Mount
from .output import Forward, HeadTail
from .protocol import DEFAULT_MAX_OUTPUT, Capabilities
from .running import Output, run_to_end
from .shell_sandbox import ShellSandbox
from .subreapers import Command
from .supervisor_client import SupervisorClient
from .tar_commands import check_packed
from .transfer import DEFAULT_MAX_BYTES
from .visible import file_system, host_path, shared_temporary_folders

Isolation = Literal["auto", "none", "bubblewrap"]

#: The environment variable that says how sandboxes are isolated which are told nothing else.
ISOLATION_VARIABLE = "PYTEST_HERMES_LOCAL_ISOLATION"

#: Sandboxes for each cpu.
_STARTING_AT_ONCE = 4
_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()

_INSTEAD = "use --hermes-sandbox=docker"


class LocalSandbox(ShellSandbox):
    """Runs commands on the host, as the user that runs pytest, in a folder of its own.

    `name` appears in error messages only. `isolation` is `bubblewrap` (of the host's files only programs are visible,
    and none of its processes), `none`, or `auto`: bubblewrap where it works. None: what PYTEST_HERMES_LOCAL_ISOLATION
    says, or else `auto`; raises UsageError when that says something else. `options`: see `LocalOptions`.
    """

    backend = "local"
    shell = "bash"
    descriptors = 8

    def __init__(
        self,
        spec: SandboxSpec,
        *,
        name: str,
        isolation: Isolation | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self._spec = spec
        self._options = LocalOptions.parse(options or {})
        self._isolation = isolation or _isolation_wanted()
        self._folder = SandboxFolder()
        self.home = self._folder.home
        self.scratch = self._folder.scratch
        self.workdir = posixpath.normpath(posixpath.join(self.home, spec.workdir or "."))
        self._env = {**_host_environment(), "HOME": self.home, **spec.env}
        self._client: SupervisorClient | None = None
        self._has_workdir = False
        self._hiding = False
        self._frozen = False
        self._closed = False

    @staticmethod
    def describe(isolation: Isolation | None = None) -> str:
        """Return what sandboxes will be isolated by, in a few words for the header.

        The first call in a process tries bubblewrap out, which takes some 50 ms.
        """
        problem = _problem(isolation)
        if problem is None:
            limited = bubblewrap.probe().limited
            return f"local (bubblewrap{'' if limited else '; cannot limit processes'})"
        return f"local (no isolation: {problem})" if problem else "local (no isolation)"

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> None:
        """Raise UsageError for an option that does not exist or fit, or has no effect without bubblewrap."""
        parsed = LocalOptions.parse(options)
        problem = _problem(None)
        if parsed.mounts and problem is not None:
            why = problem or f"{ISOLATION_VARIABLE} is none"
            raise UsageError(f"the options {', '.join(options)} of the local sandbox need bubblewrap: {why}")

    @staticmethod
    def describe_options(options: Mapping[str, Any]) -> str:
        """Return what of the host `options` show to sandboxes, for the header."""
        return LocalOptions.parse(options).describe()

    @property
    def capabilities(self) -> Capabilities:
        isolated = self._isolated
        return Capabilities(
            hard_kill=os.path.exists("/proc/self/task"),
            own_processes=isolated,
            private_folders=isolated and bubblewrap.probe().private_folders,
        )

    @property
    def _isolated(self) -> bool:
        return self._isolation != "none" and bubblewrap.probe().problem is None

    async def start(self) -> None:
        """Make it ready; see `Sandbox.start`. Raises UsageError when bubblewrap was asked for and does not work."""
        if self._isolation != "none":
            problem = (await asyncio.to_thread(bubblewrap.probe)).problem
            if problem is not None and self._isolation == "bubblewrap":
                raise UsageError(f"isolation 'bubblewrap' is not available: {problem}")
        await self.check_needs()
        async with _turn_to_start():
            await self._start()

    async def _start(self) -> None:
        try:
            await self._make_folder()
            if not self._isolated:
                privacy.hide()
                self._hiding = True
            self._client = await self._supervised()
            if not self._has_workdir:
                await self._make_workdir()
        except OSError as error:  # a full disk, or no descriptors left
            await self.close()
            raise InfrastructureError(f"a local sandbox cannot be started: {error}", kind="sandbox") from error
        except BaseException:
            await self.close()
            raise

    async def _supervised(self) -> SupervisorClient:
        prefix: list[str] = []
        if isolated := self._isolated:
            files = await asyncio.to_thread(file_system, *self._options.mounts)
            files.add(Mount("writable", self._folder.path, self._folder.path))
            prefix = bubblewrap.arguments(
                files, network=self._spec.network is not False, supervised=bubblewrap.probe().supervised
            )
        attempts_left = bubblewrap.ATTEMPTS
        while True:
            attempts_left -= 1
            supervisor_client = SupervisorClient()
            try:
                await supervisor_client.start(
                    prefix,
                    folder=self._folder.path,
                    pids=self._spec.pids or bubblewrap.DEFAULT_PIDS,
                    shared=shared_temporary_folders() if isolated else [],
                    env=_host_environment(),
                )
            except BaseException as error:
                await supervisor_client.close()
                if attempts_left and isinstance(error, InfrastructureError) and bubblewrap.passing(str(error)):
                    continue
                raise
            return supervisor_client

    async def close(self) -> None:
        """See `Sandbox.close`."""
        self._closed = True
        shielded = Shielded()
        if self._client is not None:
            try:
                await self._client.close()
            except asyncio.CancelledError as error:
                shielded.remember(error)
        await shielded.wait(asyncio.get_running_loop().run_in_executor(None, self._folder.remove))
        if self._hiding:
            self._hiding = False
            privacy.show()
        shielded.release()

    async def run(
        self,
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        stdin: bytes | BinaryIO,
        stdout: Output,
        stderr: Output,
        user: str,
    ) -> Command:
        """See `ShellSandbox.run`."""
        return await self._run_in((), argv, cwd, env, stdin, stdout, stderr)

    async def run_private(
        self,
        private: Sequence[str],
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        stdin: bytes | BinaryIO,
        stdout: Output,
        stderr: Output,
        user: str,
    ) -> Command:
        """See `ShellSandbox.run_private`."""
        if not self.capabilities.private_folders:
            raise Unsupported("the local sandbox cannot give a command folders of its own here")
        folders = [posixpath.normpath(folder) for folder in private]
        return await self._run_in(folders, argv, cwd, env, stdin, stdout, stderr)

    async def end_processes(self) -> None:
        """See `Sandbox.end_processes`. Its own supervisor ends them: no program is needed for that."""
        if not self.capabilities.hard_kill:
            return
        if not await self._opened().end_processes():
            why = "processes that the agent left running cannot be ended"
            raise InfrastructureError(why, kind="sandbox")

    async def freeze(self) -> None:
        """See `Sandbox.freeze`: nothing is left that could run."""
        if not self._frozen:
            await self.end_processes()
            self._frozen = True

    async def pull(self, path: str, tar: BinaryIO) -> None:
        """See `Sandbox.pull`: its own supervisor reads the files.

        Raises OSError when not all of it can be read, or it has more than 4 GiB.
        """
        stdout, stderr = Forward(tar), HeadTail(DEFAULT_MAX_OUTPUT)
        path = posixpath.normpath(posixpath.join(self.workdir, path))
        running = self._opened().archive(path, DEFAULT_MAX_BYTES, stdout=stdout.feed, stderr=stderr.feed)
        check_packed(await run_to_end(running, stdout, stderr, None), path)

    def _opened(self) -> SupervisorClient:
        """Return what commands are run by. Raises InfrastructureError when it is not open."""
        if self._client is None or self._closed:
            raise InfrastructureError("the sandbox is not open", kind="sandbox")
        return self._client

    async def _run_in(
        self,
        private: Sequence[str],
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        stdin: bytes | BinaryIO,
        stdout: Output,
        stderr: Output,
    ) -> Command:
        client = self._opened()
        if self._frozen:
            raise InfrastructureError("the sandbox is frozen", kind="sandbox")
        if isinstance(stdin, bytes):
            source = memory_file(stdin) if stdin else None
        else:
            source = await asyncio.to_thread(copied_file, stdin)
        return client.run(
            argv,
            env={**self._env, **env},
            cwd=cwd,
            stdin=source,
            stdout=stdout.feed,
            stderr=stderr.feed,
            private=private,
        )

    async def check_needs(self) -> None:
        """Raise Unsupported for what this machine does not have; nothing is started for that."""
        spec = self._spec
        if spec.image is not None or spec.build_context is not None:
            what = f"image {spec.image!r}" if spec.image is not None else "an image built from a Dockerfile"
            raise Unsupported(f"the local sandbox cannot run {what}; {_INSTEAD}")
        if spec.network is False and not (self._isolated and bubblewrap.probe().network_none):
            raise Unsupported(f"the local sandbox cannot cut off the network without bubblewrap; {_INSTEAD}")
        cpus = os.cpu_count() or 1
        if spec.cpus is not None and spec.cpus > cpus:
            raise Unsupported(f"the task needs {spec.cpus:g} cpus, this machine has {cpus}; {_INSTEAD} on a larger one")
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if spec.memory_bytes is not None and spec.memory_bytes > memory:
            raise Unsupported(
                f"the task needs {spec.memory_bytes >> 20} MiB of memory, this machine has {memory >> 20} MiB; "
                f"{_INSTEAD} on a larger one"
            )

    async def _make_folder(self) -> None:
        shielded = Shielded()
        making = asyncio.get_running_loop().run_in_executor(None, self._make_folder_now)
        await shielded.wait(making)
        shielded.release()
        making.result()

    def _make_folder_now(self) -> None:
        self._folder.make()
        if posixpath.join(self.workdir, "").startswith(self.home + "/"):
            os.makedirs(self.workdir, exist_ok=True)
            self._has_workdir = True
        elif not self._isolated:  # where it is isolated, only the inside can tell
            self._has_workdir = os.path.isdir(self.workdir)

    async def _make_workdir(self) -> None:
        """Make a workdir that is not below the home folder, where that does not touch the host."""
        problem = "there is no such folder on this machine"
        if self._isolated:
            made = await self.exec(f"mkdir -p -- {shlex.quote(self.workdir)}", cwd="/")
            if made.exit_code == 0:
                return
            problem = made.stderr.decode(errors="replace").strip()
        raise Unsupported(f"the local sandbox cannot start in the workdir {self.workdir!r} ({problem}); {_INSTEAD}")


def _turn_to_start() -> asyncio.Semaphore:
    """Return what keeps hundreds from starting at once: the first would be ready no sooner than the last."""
    loop = asyncio.get_running_loop()
    return _turns.setdefault(loop, asyncio.Semaphore(_STARTING_AT_ONCE * (os.cpu_count() or 1)))


def _isolation_wanted() -> Isolation:
    wanted = os.environ.get(ISOLATION_VARIABLE) or "auto"
    for isolation in get_args(Isolation):
        if wanted == isolation:
            return isolation  # type: ignore[no-any-return]
    raise UsageError(f"{ISOLATION_VARIABLE}: {unknown('isolation', wanted, get_args(Isolation))}")


def _problem(isolation: Isolation | None) -> str | None:
    """Return why nothing isolates, None where bubblewrap does, and an empty text where nobody wants it."""
    return "" if (isolation or _isolation_wanted()) == "none" else bubblewrap.probe().problem


def _host_environment() -> dict[str, str]:
    """The variables of the host that commands may know."""
    return {
        "PATH": host_path(),
        "LANG": os.environ.get("LANG") or "C.UTF-8",
        "TERM": os.environ.get("TERM") or "dumb",
    }

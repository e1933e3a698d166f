"""What every backend shares that can start a command and has a shell: the rest of the contract follows from that."""

from __future__ import annotations

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from ..errors import InfrastructureError, SandboxBroken, Unsupported
from .output import Forward, HeadTail
from .protocol import DEFAULT_MAX_OUTPUT, ExecResult, Process, Sandbox
from .running import BackgroundProcess, Output, RunningCommand, run_to_end
from .scripts import shell_script
from .tar_commands import NoTar, pack, unpack

#: Seconds for ending what runs in a sandbox, and the exit code of end_processes.sh when something does not end.
_ENDING = 600.0
_NOT_ENDED = 91


class ShellSandbox(Sandbox, ABC):
    """Implements `Sandbox` by way of `run`: all but `start` and `close`.

    A backend that can do more by itself than the programs in its sandbox replaces `run_private`, `end_processes`,
    `freeze`, `pull` and `changed_files`.
    """

    _processes = 0

    @abstractmethod
    async def run(
        self,
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        stdin: bytes | BinaryIO,
        stdout: Output,
        stderr: Output,
        user: str,
    ) -> RunningCommand:
        """Start a command in the folder `cwd`, an absolute path. Raises InfrastructureError."""

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
    ) -> RunningCommand:
        """Start a command as `run` does, with the folders `private` of its own: see `Sandbox.exec`."""
        raise Unsupported(f"the sandbox {self.backend!r} cannot give a command folders of its own")

    async def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | BinaryIO = b"",
        max_output: int = DEFAULT_MAX_OUTPUT,
        stdout_to: BinaryIO | None = None,
        user: str = "",
        private: Sequence[str] = (),
    ) -> ExecResult:
        """See `Sandbox.exec`. The time begins when the command does, however long it takes to be started."""
        if user and not self.capabilities.users:
            raise Unsupported(f"the sandbox {self.backend!r} cannot run a command as user {user!r}")
        stdout = HeadTail(max_output) if stdout_to is None else Forward(stdout_to)
        stderr = HeadTail(max_output)
        running = await self._run(command, cwd, env, stdin, stdout, stderr, user, private=private)
        return await run_to_end(running, stdout, stderr, timeout)

    async def spawn(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | BinaryIO = b"",
        max_output: int = DEFAULT_MAX_OUTPUT,
    ) -> Process:
        """See `Sandbox.spawn`."""
        stdout, stderr = HeadTail(max_output), HeadTail(max_output)
        running = await self._run(command, cwd, env, stdin, stdout, stderr, "")
        self._processes += 1
        return BackgroundProcess(f"bg_{self._processes}", running, stdout, stderr)

    async def _run(
        self,
        command: str | Sequence[str],
        cwd: str | None,
        env: Mapping[str, str] | None,
        *more: Any,
        private: Sequence[str] = (),
    ) -> RunningCommand:
        argv = [self.shell, "-c", command] if isinstance(command, str) else command
        where = argv, posixpath.join(self.workdir, cwd or "."), env or {}
        try:
            if private:
                return await self.run_private(private, *where, *more)
            return await self.run(*where, *more)
        except OSError as error:  # of this machine: what a command meets, it says itself
            raise InfrastructureError(f"a command cannot be started: {error}", kind="sandbox") from error

    async def upload(self, tar: BinaryIO, path: str) -> None:
        """See `Sandbox.upload`. Raises OSError when `path` cannot be written."""
        await unpack(self, tar, path)

    async def download(self, path: str, tar: BinaryIO) -> None:
        """See `Sandbox.download`. Raises OSError when not all of it can be read."""
        await pack(self, path, tar)

    async def end_processes(self) -> None:
        """See `Sandbox.end_processes`: a script in the sandbox ends them, where its processes are its own."""
        if not self.capabilities.own_processes:
            return
        script = ["/bin/sh", "-c", shell_script("end_processes")]
        ended = await self.exec(script, timeout=_ENDING, cwd="/", user=self.capabilities.as_root)
        if ended.exit_code == 0:
            return
        lines = ended.stderr.decode(errors="replace").strip().splitlines()
        why = lines[-1] if lines else f"exit code {ended.exit_code}"
        if ended.timed_out or ended.exit_code == _NOT_ENDED:
            raise InfrastructureError(f"processes that the agent left running cannot be ended: {why}", kind="sandbox")
        raise SandboxBroken(f"a command can no longer be run: {why}")

    async def freeze(self) -> None:
        """See `Sandbox.freeze`."""
        await self.end_processes()

    async def pull(self, path: str, tar: BinaryIO) -> None:
        """See `Sandbox.pull`: by the sandbox's own shell and tar."""
        try:
            await pack(self, path, tar, user=self.capabilities.as_root)
        except NoTar as error:
            raise SandboxBroken(f"the sandbox cannot pack {path!r} any more") from error

    async def changed_files(self) -> tuple[str, ...] | None:
        """See `Sandbox.changed_files`."""
        return None

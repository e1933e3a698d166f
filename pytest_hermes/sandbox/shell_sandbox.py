"""What every backend shares that can start a command and has a shell: the rest of the contract follows from that."""

from __future__ import annotations

import posixpath
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from ..errors import Unsupported
from .output import Forward, HeadTail
from .protocol import DEFAULT_MAX_OUTPUT, ExecResult, Process, Sandbox
from .running import BackgroundProcess, Output, RunningCommand, run_to_end
from .tar_commands import pack, unpack


class ShellSandbox(Sandbox, ABC):
    """Implements `exec`, `spawn`, `upload` and `download` of `Sandbox` by way of `run`."""

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
    ) -> ExecResult:
        """See `Sandbox.exec`. The time begins when the command does, however long it takes to be started."""
        if user and not self.capabilities.users:
            raise Unsupported(f"the sandbox {self.backend!r} cannot run a command as user {user!r}")
        stdout = HeadTail(max_output) if stdout_to is None else Forward(stdout_to)
        stderr = HeadTail(max_output)
        running = await self._run(command, cwd, env, stdin, stdout, stderr, user)
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
    ) -> RunningCommand:
        argv = [self.shell, "-c", command] if isinstance(command, str) else command
        return await self.run(argv, posixpath.join(self.workdir, cwd or "."), env or {}, *more)

    async def upload(self, tar: BinaryIO, path: str) -> None:
        """See `Sandbox.upload`. Raises OSError when `path` cannot be written."""
        await unpack(self, tar, path)

    async def download(self, path: str, tar: BinaryIO) -> None:
        """See `Sandbox.download`. Raises OSError when not all of it can be read."""
        await pack(self, path, tar)

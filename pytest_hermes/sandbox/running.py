"""What is common to the commands of all backends once they run."""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod

from ..errors import InfrastructureError
from .output import Forward, HeadTail
from .protocol import TIMEOUT_EXIT_CODE, ExecResult

Output = HeadTail | Forward

#: What is said of a command whose sandbox ended under it: killed.
_KILLED = 137


class RunningCommand(ABC):
    """A command that a sandbox has started."""

    def __init__(self) -> None:
        #: The leader's exit code, or what kept it from being known.
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        #: When the leader began, by the monotonic clock.
        self.started = time.monotonic()

    def settle(self, outcome: int | Exception) -> None:
        """Let `exited` be the exit code, or raise the error, unless that is known already."""
        if self.exited.done():
            return
        if isinstance(outcome, Exception):
            self.exited.set_exception(outcome)
            self.exited.exception()  # nobody may be waiting for it, which is no reason to complain
        else:
            self.exited.set_result(outcome)

    def collect(self) -> None:  # noqa: B027 - where all that it wrote arrives before its end is known, that is nothing
        """Take what it has written by now. Raises what its output met where it is sent to."""

    @abstractmethod
    def discard(self) -> None:
        """Throw away what it writes from now on."""

    @abstractmethod
    async def kill(self) -> None:
        """End it and all its descendants; return when they are gone."""


async def run_to_end(command: RunningCommand, stdout: Output, stderr: Output, timeout: float | None) -> ExecResult:
    """Wait for a command's leader as `Sandbox.exec` promises it, and return what it left behind.

    Raises InfrastructureError when the sandbox fails, and what its output met where it is sent to.
    """
    try:
        await asyncio.wait([command.exited], timeout=timeout)
        timed_out = not command.exited.done()
        if timed_out:
            await command.kill()
        code = TIMEOUT_EXIT_CODE if timed_out else command.exited.result()
        command.collect()
        command.discard()
    except BaseException:
        command.discard()
        with contextlib.suppress(InfrastructureError):  # the first one says more
            await command.kill()
        raise
    return ExecResult(
        exit_code=code,
        stdout=stdout.value(),
        stderr=stderr.value(),
        stdout_total=stdout.total,
        stderr_total=stderr.total,
        truncated=stdout.truncated or stderr.truncated,
        timed_out=timed_out,
        duration=time.monotonic() - command.started,
    )


class BackgroundProcess:
    """A command in the background; implements `Process`."""

    def __init__(self, id: str, command: RunningCommand, stdout: HeadTail, stderr: HeadTail) -> None:
        self.id = id
        self._command = command
        self._stdout = stdout
        self._stderr = stderr

    def poll(self) -> int | None:
        exited = self._command.exited
        if not exited.done():
            return None
        return _KILLED if exited.exception() else exited.result()

    def read(self) -> tuple[bytes, bytes]:
        self._command.collect()
        return self._stdout.take(), self._stderr.take()

    async def wait(self, timeout: float | None = None) -> int | None:
        await asyncio.wait([self._command.exited], timeout=timeout)
        return self.poll()

    async def kill(self) -> None:
        await self._command.kill()

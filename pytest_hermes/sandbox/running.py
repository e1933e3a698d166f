"""What is common to the commands of all backends once they run."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Protocol

from ..errors import InfrastructureError
from .output import Forward, HeadTail
from .protocol import TIMEOUT_EXIT_CODE, ExecResult

Output = HeadTail | Forward


class RunningCommand(Protocol):
    """A command that a sandbox has started."""

    #: The leader's exit code, or what kept it from being known.
    exited: asyncio.Future[int]
    #: When the leader began, by the monotonic clock.
    started: float

    def collect(self) -> None:
        """Take what it has written by now. Raises what its output met where it is sent to."""

    def discard(self) -> None:
        """Throw away what it writes from now on."""

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

"""A background command of any sandbox."""

from __future__ import annotations

import asyncio

from .output import HeadTail
from .running import RunningCommand

#: What is said of a command whose sandbox ended under it: killed.
_KILLED = 137


class BackgroundProcess:
    """Implements `Process`."""

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

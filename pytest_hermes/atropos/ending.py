"""The end of a run before its time: whoever finds that it cannot go on says so, and the mode that runs raises it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ..errors import HermesError


class RunFailed(HermesError):
    """The run cannot go on, or came to nothing."""


class Ending:
    """Ends the work of a mode."""

    def __init__(self) -> None:
        self._work: asyncio.Task[Any] | None = None
        self._reason: HermesError | None = None

    def stop(self, reason: HermesError) -> None:
        """End the work that is running, which then raises `reason`; the first one counts. Raised here where none is."""
        if self._work is None:
            raise reason
        if self._reason is None:
            self._reason = reason
            self._work.cancel()

    async def until_stopped(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run `work` to its end, or until `stop` is called, whose reason is raised."""
        task = self._work = asyncio.create_task(work)
        try:
            await asyncio.wait({task})
        finally:
            if not task.cancelling():
                task.cancel()
            await asyncio.wait({task})
            self._work = None
        error = None if task.cancelled() else task.exception()
        if self._reason is not None:
            raise self._reason
        if error is not None:
            raise error

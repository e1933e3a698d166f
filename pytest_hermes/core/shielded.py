"""Waiting that cancellation cannot cut short."""

from __future__ import annotations

import asyncio
from typing import Any


class Shielded:
    """Awaits futures to their end although the task is being cancelled, and passes the cancellation on afterwards.

    For clean-up. Only plain futures, not tasks: a loop that shuts down cancels all tasks, these included.

        shielded = Shielded()
        await shielded.wait(future)
        …
        shielded.release()
    """

    def __init__(self) -> None:
        self._cancelled: asyncio.CancelledError | None = None

    async def wait(self, future: asyncio.Future[Any], timeout: float | None = None) -> bool:
        """Return whether `future` has ended within `timeout` seconds; its outcome is left in it."""
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        while not future.done():
            left = None if end is None else end - loop.time()
            if left is not None and left <= 0:
                return False
            try:
                await asyncio.wait([future], timeout=left)
            except asyncio.CancelledError as error:
                self._cancelled = error
        return True

    def remember(self, cancelled: asyncio.CancelledError) -> None:
        """Take over a cancellation that was caught elsewhere."""
        self._cancelled = cancelled

    def release(self) -> None:
        """Raise the cancellation that came meanwhile, if one did."""
        if self._cancelled is not None:
            raise self._cancelled

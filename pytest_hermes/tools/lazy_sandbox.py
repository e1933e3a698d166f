"""A sandbox that starts when it is first needed: an attempt that never touches it never pays for one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence

from ..errors import HermesError, InfrastructureError, UsageError
from ..sandbox.protocol import Sandbox

#: Returns a sandbox that is not started; or awaits first what is only known when one is needed, such as its image.
MakeSandbox = Callable[[], Sandbox | Awaitable[Sandbox]]


class LazySandbox:
    """Makes and starts one sandbox once, for all who ask, and closes it once. All coroutines belong to one loop."""

    def __init__(self, make: MakeSandbox) -> None:
        self._make = make
        self._sandbox: Sandbox | None = None
        self._start: asyncio.Task[None] | None = None
        self._close: asyncio.Task[None] | None = None
        #: Whether nothing is left of it.
        self.released = False

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox. Raises RuntimeError before it was made: `started` does that."""
        if self._sandbox is None:
            raise RuntimeError("the sandbox was not started yet")
        return self._sandbox

    @property
    def closed(self) -> bool:
        return self._close is not None

    async def started(self) -> Sandbox:
        """Return the sandbox, started. A start that failed is not tried again: it fails for all who ask.

        Cancelling one who waits leaves the start to the others. Raises UsageError once closed, and what
        `Sandbox.start` raises.
        """
        if self._close is None and self._start is None:
            self._start = asyncio.create_task(self._start_now(), name="start sandbox")
            self._start.add_done_callback(_look_at_the_error)
        if self._start is not None and self._close is None:
            await asyncio.wait([self._start])
        if self._start is None or self._close is not None or self._start.cancelled():
            raise UsageError("the sandbox is closed already")
        self._start.result()
        return self.sandbox

    async def close(self) -> None:
        """Close the sandbox if it was ever made. May be called twice; finishes even when cancelled."""
        await close_all([self])

    def _closing(self) -> asyncio.Task[None]:
        # One that is cancelled before its first step never begins.
        if self._close is None or (self._close.done() and not self.released):
            self._close = asyncio.create_task(self._close_now(), name="close sandbox")
        return self._close

    async def _start_now(self) -> None:
        try:
            made = self._make()
            self._sandbox = await made if inspect.isawaitable(made) else made
            await self._sandbox.start()
        except HermesError:
            raise
        except Exception as error:
            raise InfrastructureError(
                f"the sandbox did not start: {type(error).__name__}: {error}", kind="sandbox"
            ) from error

    async def _close_now(self) -> None:
        if self._start is not None and not self._start.done():
            self._start.cancel()
            await asyncio.wait([self._start])
        try:
            if self._sandbox is not None:
                await self._sandbox.close()
        finally:
            self.released = True


async def close_all(sandboxes: Sequence[LazySandbox]) -> None:
    """Close them side by side; finishes even when cancelled. Raises what the first of them raised."""
    cancellation: asyncio.CancelledError | None = None
    while closing := [sandbox._closing() for sandbox in sandboxes if not sandbox.released]:
        try:
            await asyncio.wait(closing)
        except asyncio.CancelledError as error:
            cancellation = error
    for sandbox in sandboxes:
        sandbox._closing().result()
    if cancellation is not None:
        raise cancellation


def _look_at_the_error(task: asyncio.Task[None]) -> None:
    # Everybody who waited may be gone by now; asyncio would report an error that nobody looked at.
    if not task.cancelled():
        task.exception()

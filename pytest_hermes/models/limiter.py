"""How many model calls may be in flight: fewer when the endpoint says that it is too much, then more again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .outage import Outage


class CallLimiter:
    """Additive increase, multiplicative decrease, as TCP does it (Chiu and Jain 1989).

    Shared by all rollouts that ask one endpoint, as is its `outage`. All of it happens on one event loop; other
    threads may read `limit` and `in_flight`.
    """

    def __init__(self, maximum: int = 256) -> None:
        self.maximum = maximum
        #: Calls that may be in flight now.
        self.limit = maximum
        self.in_flight = 0
        #: Whether the endpoint is down, which all of them find out together.
        self.outage = Outage()
        self._peak = 0
        # Calls that started before the last cut say nothing about the limit since.
        self._epoch = 0
        self._successes = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_full(self) -> bool:
        """Whether one more call would have to wait."""
        return self.in_flight >= self.limit or bool(self._waiting)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Wait, first come, first served, until one more call may be in flight, and count it until the block ends.

        Yields what `succeeded` and `overloaded` are to be given when the call ends so.
        """
        await self._enter()
        try:
            yield self._epoch
        finally:
            self._leave()

    async def _enter(self) -> None:
        if not self.is_full:
            self._count_one()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # its turn had come just before
                self._leave()
            raise

    def _count_one(self) -> None:
        self.in_flight += 1
        self._peak = max(self._peak, self.in_flight)

    def _leave(self) -> None:
        self.in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self.in_flight < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._count_one()
                turn.set_result(None)

    def overloaded(self, epoch: int) -> None:
        """Halve the limit, unless that was done since the call of `epoch` started: once a round trip is enough."""
        if epoch != self._epoch:
            return
        self._epoch += 1
        self._successes = 0
        # A limit that was never reached is not what the endpoint complained about.
        self.limit = max(1, min(self.limit, self._peak) // 2)

    def succeeded(self, epoch: int) -> None:
        """Count a success; as many as the limit make it grow by one."""
        if epoch != self._epoch or self.limit >= self.maximum:
            return
        self._successes += 1
        if self._successes >= self.limit:
            self._successes = 0
            self.limit += 1
            self._wake()


class CallLimiters:
    """The limits of a process: one for each endpoint, whichever model it is asked for."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._limiters: dict[str, CallLimiter] = {}

    def at(self, address: str) -> CallLimiter:
        """Return the limit for an endpoint, by its base URL."""
        return self._limiters.setdefault(address, CallLimiter(self._maximum))

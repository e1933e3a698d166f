"""Whether an endpoint is down. While it is, one call at a time asks it, and all others wait for what it finds."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum

#: Calls that fail with no good answer between them until an endpoint counts as down. One alone may fail by what it
#: asks, and must not hold up others.
_CALLS = 3


class Go(Enum):
    """What a call that waited may do."""

    AHEAD = "ask: the endpoint is up"
    PROBE = "ask for all: the call that did so is over"


class Outage:
    """What the calls to one endpoint know of it together.

    Each call is known by an object of its own, and says `left` when it is over. All of it happens on one event loop;
    other threads may read `waits`.
    """

    def __init__(self) -> None:
        #: Whether the endpoint ever gave an answer that was not a fault.
        self.worked = False
        #: Requests that failed since the last good answer, and since when they do, by the loop's clock.
        self.faults = 0
        self.since = 0.0
        #: What calls wait for, for people; None while none does.
        self.waits: str | None = None
        #: Calls that failed or wait, and have neither asked again nor ended.
        self._held_up: set[object] = set()
        self._prober: object | None = None
        self._waiting: deque[tuple[object, asyncio.Future[Go | Exception]]] = deque()

    @property
    def is_down(self) -> bool:
        return len(self._held_up) >= _CALLS

    def holds_up(self, call: object) -> bool:
        """Return whether a call waits because the endpoint failed."""
        return call in self._held_up

    def alive(self) -> None:
        """Note that the endpoint answers. If it was down, every call may ask; if not, calls that failed wait on."""
        was_down = self.is_down
        self.faults = 0
        self.waits = None
        self._held_up.clear()
        self._prober = None
        if was_down:
            waiting, self._waiting = self._waiting, deque()
            _tell(waiting, Go.AHEAD)

    def failed(self, call: object, fault: Exception, since: float) -> None:
        """Note that a request of a call failed, and since when it was failing."""
        if not self.faults:
            self.since = since
        self.faults += 1
        self.waits = f"waiting for the endpoint: {fault}"
        self._held_up.add(call)
        if self._prober is call:
            waiting, self._waiting = self._waiting, deque()
            _tell(waiting, fault)

    def must_wait(self, call: object) -> bool:
        """Return whether a call has to leave it to another one to ask. Of an endpoint that is down, the first asks."""
        if not self.is_down or self._prober is call:
            return False
        self._held_up.add(call)
        if self._prober is None:
            self._prober = call
            return False
        return True

    async def news(self, call: object) -> Go | Exception:
        """Return what becomes known next: the fault that the request for all ended with, or what this call may do."""
        told: asyncio.Future[Go | Exception] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, told))
        return await told

    def left(self, call: object) -> None:
        """Note that a call is over, whatever its end. If it was the one to ask for all, the next one is."""
        self._held_up.discard(call)
        self._waiting = deque(entry for entry in self._waiting if entry[0] is not call)
        if not self._held_up:
            self.waits = None
        if self._prober is not call:
            return
        self._prober = None
        while self._waiting and self._prober is None:
            other, told = self._waiting.popleft()
            if not told.done():
                self._prober = other
                told.set_result(Go.PROBE)


def _tell(waiting: deque[tuple[object, asyncio.Future[Go | Exception]]], news: Go | Exception) -> None:
    for _, told in waiting:
        if not told.done():
            told.set_result(news)

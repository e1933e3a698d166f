"""The time an agent has; it stands still while its endpoint is to blame for the waiting."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, Token
from types import TracebackType

_CURRENT: ContextVar[AgentClock | None] = ContextVar("hermes_agent_clock", default=None)


def stop_clock(at: float) -> None:
    """Stop the clock of the agent on whose behalf the running code asks a model, if there is one; see `stop`."""
    if (clock := _CURRENT.get()) is not None:
        clock.stop(at)


def start_clock(at: float) -> None:
    """Let that clock go on; see `start`."""
    if (clock := _CURRENT.get()) is not None:
        clock.start(at)


def count_retry() -> None:
    """Note with that clock that a request is made again."""
    if (clock := _CURRENT.get()) is not None:
        clock.retries += 1


class AgentClock:
    """Ends the block under it with TimeoutError after `seconds` (None: never) in which it was not stopped.

    A model reaches it through the functions above, whatever stands between it and the agent loop.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._timeout: asyncio.Timeout | None = None
        self._stopped_at: float | None = None
        self._remaining: float | None = None
        self._backoff = 0.0
        #: Requests that were made again.
        self.retries = 0
        self._token: Token[AgentClock | None] | None = None

    async def __aenter__(self) -> AgentClock:
        self._timeout = asyncio.timeout(self._seconds)
        await self._timeout.__aenter__()
        self._token = _CURRENT.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._timeout is not None
        assert self._token is not None
        self.start(asyncio.get_running_loop().time())
        _CURRENT.reset(self._token)
        await self._timeout.__aexit__(kind, error, trace)

    @property
    def expired(self) -> bool:
        """Whether the time is over, which tells this clock's TimeoutError from others."""
        return self._timeout is not None and self._timeout.expired()

    @property
    def stopped(self) -> bool:
        return self._stopped_at is not None

    @property
    def backoff(self) -> float:
        """Seconds for which the clock stood still."""
        if self._stopped_at is None:
            return self._backoff
        return self._backoff + asyncio.get_running_loop().time() - self._stopped_at

    def stop(self, at: float) -> None:
        """Stand still since `at`, a time of the running loop that may be past. Does nothing to a stopped clock."""
        if self._timeout is None or self.stopped or self.expired:
            return
        when = self._timeout.when()
        self._remaining = None if when is None else when - at
        self._timeout.reschedule(None)
        self._stopped_at = at

    def start(self, at: float) -> None:
        """Go on since `at`, a time of the running loop that may be past. Does nothing to a clock that goes."""
        if self._timeout is None or self._stopped_at is None or self.expired:
            return
        self._backoff += at - self._stopped_at
        self._stopped_at = None
        if self._remaining is not None:
            self._timeout.reschedule(at + self._remaining)

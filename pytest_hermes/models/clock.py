"""The time an agent has; it stands still while its endpoint is to blame for the waiting.

Who is to blame shows when a request ends: an answer took the time of the agent, whose model is slow, a fault that of
the endpoint. So the time is never over in the middle of a request, only when its answer comes.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, Token
from types import TracebackType

_CURRENT: ContextVar[AgentClock | None] = ContextVar("hermes_agent_clock", default=None)


def request_waits(at: float) -> None:
    """Note with the clock of the agent on whose behalf the running code asks a model, if there is one; see `wait`."""
    if (clock := _CURRENT.get()) is not None:
        clock.wait(at)


def request_sent(at: float) -> None:
    """Note with that clock that a request goes out; see `ask`."""
    if (clock := _CURRENT.get()) is not None:
        clock.ask(at)


def request_answered(sent_at: float) -> None:
    """Note with that clock that the request which went out then is answered; see `start`."""
    if (clock := _CURRENT.get()) is not None:
        clock.start(sent_at)


def count_retry() -> None:
    """Note with that clock that a request is made again."""
    if (clock := _CURRENT.get()) is not None:
        clock.retries += 1


class AgentClock:
    """Ends the block under it with TimeoutError after `seconds` (None: never) in which it did not stand still.

    A model reaches it through the functions above, whatever stands between it and the agent loop.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._timeout: asyncio.Timeout | None = None
        self._stopped_at: float | None = None
        self._remaining: float | None = None
        self._backoff = 0.0
        #: Whether a request waits to be sent, for its turn or after a fault: nobody works on it.
        self.waiting = False
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
    def overdue(self) -> bool:
        """Whether the time is over, though the block may not have been told yet."""
        when = self._timeout.when() if self._timeout is not None else None
        return when is not None and when <= asyncio.get_running_loop().time()

    @property
    def backoff(self) -> float:
        """Seconds for which the clock stood still."""
        if self._stopped_at is None:
            return self._backoff
        return self._backoff + asyncio.get_running_loop().time() - self._stopped_at

    def wait(self, at: float) -> None:
        """Stand still since `at`, a time of the running loop that may be past, or since it stands still already."""
        self.waiting = True
        self._stop(at)

    def ask(self, at: float) -> None:
        """Stand still until it is known whether the time since `at` was the agent's."""
        self.waiting = False
        self._stop(at)

    def _stop(self, at: float) -> None:
        if self._timeout is None or self._stopped_at is not None or self.expired:
            return
        when = self._timeout.when()
        self._remaining = None if when is None else when - at
        self._timeout.reschedule(None)
        self._stopped_at = at

    def start(self, at: float) -> None:
        """Go on since `at`, a time of the running loop that may be past. Does nothing to a clock that goes."""
        self.waiting = False
        if self._timeout is None or self._stopped_at is None or self.expired:
            return
        self._backoff += at - self._stopped_at
        self._stopped_at = None
        if self._remaining is not None:
            self._timeout.reschedule(at + self._remaining)

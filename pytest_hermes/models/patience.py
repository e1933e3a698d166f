"""Makes a request again until it is answered, or until nothing speaks for another try."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from ..errors import FatalError, HermesError, InfrastructureError
from . import retry
from .clock import count_retry, request_answered, request_sent, request_waits
from .faults import Fault, ServerFailed, WrongAddress
from .limiter import CallLimiter
from .outage import Go
from .retry import RetryPolicy

log = logging.getLogger("pytest_hermes.models")

T = TypeVar("T")

#: Seconds between two warnings that requests are made again.
_TELL_EVERY = 60


class Patience:
    """How one endpoint is asked: within the limit of its calls, and again after faults that may pass."""

    def __init__(self, calls: CallLimiter, policy: RetryPolicy) -> None:
        self.calls = calls
        self.policy = policy
        self._tell_next = 0.0

    async def see_through(self, request: Callable[[], Awaitable[T]], *, patient: bool = True) -> T:
        """Return what `request` returns, called as often as it raises a Fault that may pass.

        While the endpoint is down, one call asks on behalf of all. A 500 is not waited out unless `patient`, but
        raises ServerFailed. Raises InfrastructureError when the policy gives up, and FatalError when the endpoint has
        never worked and the time for that is over.
        """
        now = asyncio.get_running_loop().time
        call, outage = object(), self.calls.outage
        first, tried, sent = now(), 0, False
        news: Go | Exception | None = None
        try:
            while True:
                if isinstance(news, Exception):
                    fault = news
                elif outage.must_wait(call):
                    request_waits(now())
                    news = await outage.news(call)
                    continue
                else:
                    if sent:
                        count_retry()
                    sent = True
                    try:
                        return await self._once(request, call, patient)
                    except Fault as failed:
                        fault = failed
                tried += 1
                news = await self._wait(call, fault, tried, now() - first)
        finally:
            outage.left(call)

    async def _once(self, request: Callable[[], Awaitable[T]], call: object, patient: bool) -> T:
        now = asyncio.get_running_loop().time
        if self.calls.is_full:  # a place in flight is the endpoint's to give
            request_waits(now())
        async with self.calls.slot() as epoch:
            began = now()
            request_sent(began)
            try:
                answer = await request()
            except Fault as fault:
                if fault.status == 500 and not patient:
                    request_answered(began)
                    raise ServerFailed(str(fault), kind="endpoint") from None
                request_waits(began)
                self._failed(fault, call, began, epoch)
                raise
            except WrongAddress as error:
                request_answered(began)
                if self.calls.outage.worked:
                    raise InfrastructureError(str(error), kind="endpoint") from None
                raise FatalError(str(error)) from None
            except BaseException as error:
                request_answered(began)
                if isinstance(error, HermesError):
                    self._works()
                raise
            request_answered(began)
            self.calls.succeeded(epoch)
            self._works()
            return answer

    def _works(self) -> None:
        self.calls.outage.worked = True
        self.calls.outage.alive()

    def _failed(self, fault: Fault, call: object, began: float, epoch: int) -> None:
        if fault.status in retry.OVERLOADED:
            self.calls.overloaded(epoch)
        if fault.status == retry.TOO_MANY_REQUESTS:
            self.calls.outage.alive()
        elif fault.failure != "local":
            # One that did not answer in time was failing from the beginning.
            since = began if fault.failure == "late" else asyncio.get_running_loop().time()
            self.calls.outage.failed(call, fault, since)

    async def _wait(self, call: object, fault: Exception, tried: int, spent: float) -> Go | Exception | None:
        """Wait until the call may ask again, or something becomes known of the endpoint, and return that.

        Raises what the call ends with when it may not ask again.
        """
        outage, policy, now = self.calls.outage, self.policy, asyncio.get_running_loop().time
        retry_after = fault.retry_after if isinstance(fault, Fault) else None
        wait = policy.wait(tried, spent, retry_after, for_all=outage.is_down)
        if not outage.worked and outage.faults > 1:
            failing = now() - outage.since
            if failing >= policy.first_contact:
                raise FatalError(f"{fault} ({outage.faults} requests in {failing:.0f} s, and not one worked)")
            if wait is not None:
                wait = min(wait, policy.first_contact - failing)
        if wait is None or self._is_a_wrong_address(fault, tried):
            raise self._gave_up(fault, tried, retry_after)
        if outage.must_wait(call):
            return await outage.news(call)
        self._tell(fault, now(), wait)
        if not outage.holds_up(call):
            await asyncio.sleep(wait)
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                return await outage.news(call)
        return None

    def _is_a_wrong_address(self, fault: Exception, tried: int) -> bool:
        unreachable = isinstance(fault, Fault) and fault.failure == "unreachable"
        most = self.policy.first_contact_tries
        return unreachable and not self.calls.outage.worked and most is not None and tried >= most

    def _tell(self, fault: Exception, now: float, wait: float) -> None:
        """Say, now and then, what is waited for: it may be a quarter of an hour."""
        if now >= self._tell_next:
            self._tell_next = now + _TELL_EVERY
            log.warning("%s; next try in %.1f s, at most %s retries", fault, wait, self.policy.tries - 1)

    def _gave_up(self, fault: Exception, tried: int, retry_after: float | None) -> InfrastructureError:
        if retry_after is not None and retry_after > self.policy.total:
            why = f"it asks to wait {retry_after:.0f} s"
        else:
            why = f"{tried} tries"
        return InfrastructureError(f"{fault} ({why})", kind="endpoint")

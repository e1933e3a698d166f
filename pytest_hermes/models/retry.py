"""When a request that failed is made again, and how long to wait before."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ..config.options import Options
from .transport import LONGEST_ANSWER

#: The status by which an endpoint that works asks to be asked less.
TOO_MANY_REQUESTS = 429

#: Statuses that may be another on the next try.
_TRANSIENT = (408, 409, TOO_MANY_REQUESTS)

#: Statuses by which an endpoint says that it is asked for too much at once.
OVERLOADED = (TOO_MANY_REQUESTS, 503)


def is_transient(status: int) -> bool:
    """Return whether a request answered with this HTTP status is worth another try."""
    return status in _TRANSIENT or status >= 500


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often one model call is tried, and for how long. Times are in seconds.

    The waits grow exponentially with full jitter: uniform between 0 and `base` * 2**n, at most `longest_wait`
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter).
    """

    #: Requests made for one call, the first one included.
    tries: int = 10
    base: float = 1.0
    longest_wait: float = 60.0
    #: No try begins later than this after the call's first; a longer `Retry-After` ends the call at once.
    total: float = 900.0
    #: For one request, from the first byte sent to the last one received. Reasoning models think for minutes.
    request_timeout: float = Options.request_timeout
    #: For how long requests to an endpoint may fail that has never worked. Then the run ends.
    first_contact: float = 60.0
    #: Tries of one call to reach such an endpoint, if fewer are enough to tell that its address is wrong.
    first_contact_tries: int | None = None
    #: Bytes of one answer, decompressed.
    longest_answer: int = LONGEST_ANSWER

    def wait(self, tried: int, spent: float, retry_after: float | None, *, for_all: bool = False) -> float | None:
        """Return how long to wait after `tried` requests in `spent` seconds, None when it is time to give up.

        What the endpoint asked for is waited for whole, with some jitter on top: everybody was told the same. A call
        that asks `for_all` others has only other processes to keep out of the way of: half of its wait is fixed.
        """
        if tried >= self.tries:
            return None
        # Not for secrets: it only spreads requests.
        if retry_after is None:
            most = min(self.longest_wait, self.base * 2 ** (tried - 1))
            wait = random.uniform(most / 2 if for_all else 0, most)
        else:
            wait = retry_after + random.uniform(0, self.base)
        return wait if spent + wait <= self.total else None


#: What an endpoint that is given no policy of its own keeps to.
DEFAULT = RetryPolicy()


def retry_policy(request_timeout: float | None = None) -> RetryPolicy:
    """Return the default policy, with another time for one request if one is given (seconds)."""
    return DEFAULT if request_timeout is None else replace(DEFAULT, request_timeout=request_timeout)


def read_retry_after(value: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header, a number or an HTTP date (RFC 9110, 10.2.3); None without one."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        # A date without a zone is GMT, as all HTTP dates are.
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None

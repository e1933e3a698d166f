"""Where a redirected request goes: on at the host that was asked, and nowhere else, for it holds a key and prompts."""

from __future__ import annotations

from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from ..core.one_line import first_line
from .transport import TransportError

#: Requests that one may become.
LONGEST_CHAIN = 6

#: Statuses by which a request of any method is to be made again as it is (RFC 9110, 15.4.8 and 15.4.9).
_AS_IT_IS = (307, 308)

#: Those that make a GET of a POST, as everybody reads them.
_AS_GET = (301, 302, 303)


def redirected(url: str, status: int, location: str | None, *, post: bool) -> str | None:
    """Return the URL that an answer to a request for `url` leads to, None when it does not lead on.

    Raises TransportError when it leads to another host or service, or would make a GET of a POST.
    """
    if location is None or status not in (*_AS_IT_IS, *_AS_GET):
        return None
    try:
        target = urljoin(url, location)
        asked, led = urlsplit(url), urlsplit(target)
        elsewhere = _service(led) not in _allowed(asked)
    except ValueError:
        raise TransportError("redirects to something that is not a URL", "address") from None
    if elsewhere:
        raise TransportError(f"redirects to another host, {_shown(led)}: nothing was sent there", "address")
    if post and status in _AS_GET:
        raise TransportError(f"redirects to {_shown(led)}: name that as the base address", "address")
    return target


def _service(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _allowed(asked: SplitResult) -> list[tuple[str, str | None, int | None]]:
    here = _service(asked)
    # From http to https, where what is sent is safer than before.
    return [here, ("https", asked.hostname, 443)] if asked.scheme == "http" else [here]


def _shown(parts: SplitResult) -> str:
    """Return a URL without what may be a secret in it."""
    host = parts.netloc.rpartition("@")[2]
    return first_line(urlunsplit((parts.scheme, host, parts.path, "", "")))

"""The seam between an endpoint and the HTTP client: one request, and an answer of bounded time and size.

Everything above it knows these types only. `aiohttp_transport.py` is the implementation, and any other one has to pass
`tests/models/test_transport.py`.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ..core.sendable import sendable
from .error_body import json_or_text

#: Seconds for a connection to be made, of those for the whole request.
CONNECT_SECONDS = 30.0

#: Bytes of an answer, decompressed, beyond which it is not read.
LONGEST_ANSWER = 64 * 2**20

#: What became of a request without an answer, and whether another try may help:
#: `unreachable`: nobody took the connection; it may.
#: `broken`: the connection ended before the answer did; it may.
#: `late`: there was no whole answer in time; it may.
#: `address`: what is at the address, or on the way to it, is not what was asked for; it cannot.
#: `unreadable`: there is an answer, but not one that can be read; it cannot.
#: `local`: this machine could not do it; it may.
Failure = Literal["unreachable", "broken", "late", "address", "unreadable", "local"]


class TransportError(Exception):
    """A request got no answer that can be read. The text is one line without the address, fit to follow it."""

    def __init__(self, reason: str, failure: Failure, *, proxy: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.failure = failure
        #: The proxy that failed, and the setting that names it, where it was not the endpoint itself.
        self.proxy = proxy


@dataclass(frozen=True)
class Request:
    """One request. With a body it is a POST of JSON, without one a GET."""

    url: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: From the first byte sent to the last one received.
    seconds: float = 600.0
    #: Bytes of the answer's body, decompressed.
    longest: int = LONGEST_ANSWER

    def data(self) -> bytes | None:
        """Return the body as it is sent, without the values that JSON in UTF-8 does not have."""
        if self.body is None:
            return None
        try:
            return _json(self.body)
        except ValueError:  # UnicodeEncodeError is one
            # Rare, and to look for such values in each request would take longer than to send it.
            return _json(sendable(self.body))


class StreamedAnswer(Protocol):
    """An answer whose body is still on its way."""

    @property
    def status(self) -> int: ...

    @property
    def reason(self) -> str:
        """What the server calls its status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By any spelling of a name."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body, decompressed, as it arrives. Raises TransportError."""


class Transport(Protocol):
    """Sends requests. Each may be cancelled at any time, which ends its connection."""

    def check(self, url: str) -> None:
        """Raise UsageError when the settings of this machine do not let anything be asked there."""

    def stream(self, request: Request) -> AbstractAsyncContextManager[StreamedAnswer]:
        """Send a request, and yield the answer once its headers are there. Leaving the block ends the request.

        Raises TransportError, also within the block when the request's time is over.
        """

    async def close(self) -> None:
        """End all connections. Requests after that make new ones."""


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    reason: str
    headers: Mapping[str, str]
    text: str
    #: The JSON that the text is, whatever type it claims to be; the text itself where it is none.
    body: Any


async def fetch(transport: Transport, request: Request) -> Answer:
    """Return the whole answer to a request. Raises what `Transport.stream` raises."""
    async with transport.stream(request) as answer:
        data = b"".join([chunk async for chunk in answer.chunks()])
    text = decoded(data, answer.headers.get("content-type", ""))
    return Answer(answer.status, answer.reason, answer.headers, text, json_or_text(text))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def decoded(data: bytes, content_type: str) -> str:
    """Return a body as text: JSON is UTF-8 (RFC 8259, 8.1), and only what is not UTF-8 is what its type claims."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode(_charset(content_type), "replace")


def _charset(content_type: str) -> str:
    _, _, name = content_type.lower().partition("charset=")
    name = name.partition(";")[0].strip(" \"'")
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        return "utf-8"
    # Python has codecs that make no text of bytes, such as zlib.
    return codec.name if getattr(codec, "_is_text_encoding", True) else "utf-8"

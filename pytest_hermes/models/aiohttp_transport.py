"""The HTTP client of all model calls: aiohttp, held to the seam of `transport.py`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from .content_encoding import ACCEPTED, STEP, Decompressor, UnreadableContent
from .proxies import Proxy, proxy_for
from .redirects import LONGEST_CHAIN, redirected
from .transport import CONNECT_SECONDS, Request, TransportError
from .trust import KEY_LOG, can_be_written, tls_context

if TYPE_CHECKING:
    import ssl

    import aiohttp

#: Bytes of one header, and of the status line. Gateways send policies and cookies of more than aiohttp's 8 KiB.
_LONGEST_HEADER = 65_536

_PROXY_WANTS_KEY = 407


class AiohttpTransport:
    """A pool of connections, of the event loop that first asks. How many are open at once is its user's to limit."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """`environ` names proxies and trusted certificates."""
        self._environ = dict(environ)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tls: ssl.SSLContext | None = None

    def check(self, url: str) -> None:
        proxy = proxy_for(url, self._environ)
        if url.startswith("https:") or (proxy is not None and proxy.url.startswith("https:")):
            self._trusted()

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[_StreamedAnswer]:
        data = request.data()
        session = self._connect()
        response: aiohttp.ClientResponse | None = None
        proxy: Proxy | None = None
        url = request.url
        try:
            # Of the whole request: aiohttp's own time-outs begin anew with each redirect.
            async with asyncio.timeout(request.seconds) as limit:
                for _ in range(LONGEST_CHAIN):
                    proxy = proxy_for(url, self._environ)
                    with _errors_of_the_client(proxy):
                        response = await self._send(session, request, url, data, proxy)
                    if proxy is not None and response.status == _PROXY_WANTS_KEY:
                        raise TransportError("wants a user name and password", "address", proxy=str(proxy))
                    target = redirected(url, response.status, response.headers.get("location"), post=data is not None)
                    if target is None:
                        break
                    response.close()
                    url = urljoin(url, target)
                else:
                    raise TransportError(f"redirects more than {LONGEST_CHAIN} times", "address")
                yield _StreamedAnswer(response, request.longest, proxy)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TransportError(f"did not answer within {request.seconds:g} s", "late") from None
        finally:
            if response is not None:
                # Does nothing to a connection whose answer was read to its end: that one is used again.
                response.close()

    async def _send(
        self, session: aiohttp.ClientSession, request: Request, url: str, data: bytes | None, proxy: Proxy | None
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Accept-Encoding": ACCEPTED, **request.headers}
        more: dict[str, Any] = {}
        if proxy is not None:
            more["proxy"] = proxy.url
            if url.startswith("https:"):  # the request itself goes through a tunnel, to the endpoint
                more["proxy_headers"] = proxy.headers()
            else:
                headers |= proxy.headers()
        if url.startswith("https:") or (proxy is not None and proxy.url.startswith("https:")):
            more["ssl"] = self._trusted()
        if data is not None:
            headers["Content-Type"] = "application/json"
        method = "GET" if data is None else "POST"
        return await session.request(method, url, data=data, headers=headers, allow_redirects=False, **more)

    def _trusted(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = tls_context(self._environ)
        return self._tls

    def _connect(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            self._session, self._loop = _new_session(), loop
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()


def _new_session() -> aiohttp.ClientSession:
    _import_client()
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        # Answers of one attempt must not depend on what another one was sent.
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
    )


def _import_client() -> None:
    """Import aiohttp, which makes a TLS context meanwhile, and cannot do so where SSLKEYLOGFILE cannot be written."""
    path = os.environ.get(KEY_LOG)
    writable = path is None or can_be_written(path)
    if not writable:
        del os.environ[KEY_LOG]
    try:
        import aiohttp  # noqa: F401
    finally:
        if path is not None and not writable:
            os.environ[KEY_LOG] = path


@contextmanager
def _errors_of_the_client(proxy: Proxy | None) -> Iterator[None]:
    """Turn what aiohttp raises into a TransportError without a cause: a library's own text may hold the key."""
    import aiohttp

    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        if type(error) is TimeoutError:  # that of the whole request
            raise
        from .client_errors import transport_error

        raise transport_error(error, proxy) from None


class _StreamedAnswer:
    def __init__(self, response: aiohttp.ClientResponse, longest: int, proxy: Proxy | None) -> None:
        self._response = response
        self._longest = longest
        self._proxy = proxy
        self.status = response.status
        self.reason = response.reason or ""
        self.headers: Mapping[str, str] = response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            decompressor = Decompressor(self.headers.get("content-encoding", ""))
            size = 0
            async for sent in self._sent():
                for piece in decompressor.feed(sent):
                    size += len(piece)
                    if size > self._longest:
                        raise TransportError(f"it is longer than {_megabytes(self._longest)}", "unreadable")
                    yield piece
                    if len(piece) == STEP:
                        await asyncio.sleep(0)  # it took some milliseconds, and there may be many more like it
            decompressor.end()
        except UnreadableContent as problem:
            raise TransportError(str(problem), "unreadable") from None

    async def _sent(self) -> AsyncIterator[bytes]:
        """Yield the body as it is sent."""
        content = self._response.content
        while True:
            with _errors_of_the_client(self._proxy):
                sent = await content.readany()
            if not sent:
                return
            yield sent


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.3g} MB"

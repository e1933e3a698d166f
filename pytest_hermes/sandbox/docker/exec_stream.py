"""Streams of the engine: what it makes of an HTTP request that is answered by a connection.

The docker SDK has such streams, too, but it reads the socket past a buffer that may hold their beginning already, and
a thread each would have to wait for them.

Format: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

#: Bytes of a frame's header: the stream's number, three zeros, and the length of what follows.
_HEADER = 8

#: Bytes of an HTTP head, or of an error's text, that are read at most.
_HEAD_LIMIT = 1 << 16

#: Takes the bytes of one stream.
Sink = Callable[[bytes], object]


class EngineRefused(Exception):
    """The engine answered such a request with an error."""


class Stream(asyncio.Protocol):
    """A process's standard streams. Its output goes to two sinks, and to none once it is closed.

    There are none before `send_request` was called and `opened` is done.
    """

    def __init__(self, stdout: Sink, stderr: Sink) -> None:
        loop = asyncio.get_running_loop()
        #: The request was accepted, or why it was not.
        self.opened: asyncio.Future[None] = loop.create_future()
        #: Nothing more will come; an exception when the connection broke, or a sink did.
        self.ended: asyncio.Future[None] = loop.create_future()
        #: The connection is closed.
        self.closed: asyncio.Future[None] = loop.create_future()
        self._sinks: dict[int, Sink] = {1: stdout, 2: stderr}
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._frame_left = 0
        self._sink: Sink | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()

    async def write(self, data: bytes) -> None:
        """Send standard input. What the other side takes no more is lost, as in a pipe that nobody reads."""
        self.send(data)
        await self._may_write.wait()

    def send(self, data: bytes) -> None:
        """Send a little of it, without waiting."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def write_eof(self) -> None:
        """End standard input, where the connection has a way to say so."""
        transport = self._transport
        if transport is not None and not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()

    def close(self) -> None:
        """Close the connection, soon; the process goes on without."""
        self._sinks.clear()
        self._sink = None
        if self._transport is not None:
            self._transport.abort()
        self._end(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            self._buffer += data
            self._read_head()
            return
        try:
            self._demultiplex(data)
        except Exception as error:
            self._end(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._may_write.set()
        self.closed.set_result(None)
        if not self.opened.done():
            self._refuse(0, bytes(self._buffer) or b"the connection was closed")
        self._end(exc)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def send_request(self, path: str, body: Any) -> None:
        """Send the request that `opened` tells the outcome of."""
        assert self._transport is not None
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self._transport.write(head.encode() + content)

    def _read_head(self) -> None:
        head, blank, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not blank and len(self._buffer) < _HEAD_LIMIT:
            return
        status = int(head[9:12]) if head[9:12].isdigit() else 0
        if status in (101, 200):
            self._buffer.clear()
            self.opened.set_result(None)
            if rest:
                self.data_received(rest)
        elif blank and _is_whole(head, rest):
            self._refuse(status, rest)

    def _refuse(self, status: int, body: bytes) -> None:
        text = body.decode(errors="replace").strip()
        with contextlib.suppress(ValueError, KeyError, TypeError):
            # What stands around it are the lengths of chunks.
            text = str(json.loads(text[text.find("{") : text.rfind("}") + 1])["message"])
        self.opened.set_exception(EngineRefused(text or f"HTTP status {status}"))
        self.opened.exception()  # nobody may be waiting any more
        self.close()

    def _demultiplex(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self._frame_left:
                part, view = view[: self._frame_left], view[self._frame_left :]
                self._frame_left -= len(part)
                if self._sink is not None:
                    self._sink(bytes(part))
                continue
            missing = _HEADER - len(self._buffer)
            self._buffer += view[:missing]
            view = view[missing:]
            if len(self._buffer) == _HEADER:
                self._sink = self._sinks.get(self._buffer[0])
                self._frame_left = int.from_bytes(self._buffer[4:], "big")
                self._buffer.clear()

    def _end(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
            self.ended.exception()


def _is_whole(head: bytes, body: bytes) -> bool:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return len(body) >= min(int(value), _HEAD_LIMIT)
    return body.endswith(b"0\r\n\r\n") or len(body) >= _HEAD_LIMIT

"""HTTP on loopback as bytes: what a server really sent and was sent, in the test's own event loop."""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Self


@dataclass(frozen=True)
class WireRequest:
    method: str
    #: As it was written: a path, or a whole URL by a proxy.
    target: str
    #: By names in lower case.
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """One client's connection."""

    def __init__(self, server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        #: Set when the client has closed it.
        self.closed = asyncio.Event()

    async def request(self) -> WireRequest:
        """Read one request. Raises IncompleteReadError when the client sends none."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        method, target, _ = first.split()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        request = WireRequest(method, target, headers, body)
        self._server.requests.append(request)
        self._server.asked.set()
        return request

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        with suppress(ConnectionError):
            await self._writer.drain()

    async def until_closed(self) -> None:
        """Wait until the client closes the connection."""
        with suppress(ConnectionError):
            while await self._reader.read(2**16):
                pass
        self.closed.set()

    async def tunnel(self, host: str, port: int) -> None:
        """Hand on what is sent, in both directions, until one side ends, as a proxy does after CONNECT."""
        reader, writer = await asyncio.open_connection(host, port)
        await self.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        copies = [asyncio.create_task(_copy(self._reader, writer)), asyncio.create_task(_copy(reader, self._writer))]
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for copy in copies:
                copy.cancel()
            writer.close()

    def reset(self) -> None:
        """Break the connection off, as a killed process does."""
        self._writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()


#: What a server does with a connection, until it closes it.
Serve = Callable[[Connection], Awaitable[object]]


def response(
    body: bytes | Mapping[str, Any] = b"",
    status: str = "200 OK",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return a whole response."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + data


def always(answer: bytes) -> Serve:
    """Return what answers every request in the same way."""

    async def serve(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(answer)

    return serve


def once(answer: bytes) -> Serve:
    """Return what answers one request, and closes the connection."""

    async def serve(connection: Connection) -> None:
        await connection.request()
        await connection.send(answer)

    return serve


class WireServer:
    """Serves on loopback inside of `async with`."""

    def __init__(self, serve: Serve, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[WireRequest] = []
        #: Set with the first of them.
        self.asked = asyncio.Event()
        self.connections: list[Connection] = []
        self._serve = serve
        self._tls = tls
        self._tasks: set[asyncio.Task[Any]] = set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        self.connections.append(connection)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(connection)
        except (asyncio.IncompleteReadError, ConnectionError):
            connection.closed.set()
        except asyncio.CancelledError:
            pass  # asyncio's own servers report it as an error
        finally:
            self._tasks.discard(task)
            writer.close()

    @property
    def origin(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls, backlog=512)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

"""Pipes that an event loop empties."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import termios
from collections.abc import Callable

_CHUNK = 1 << 16


class PipeReader:
    """Reads one stream of a command and feeds it to `sink`.

    `write_fd` is the end for the command; whoever passes it on closes it. Reading goes on until the last holder of that
    end has closed it, or `close`: a background process must not die of SIGPIPE because nobody listens any more. An
    exception of `sink` is given to `failed`, and what follows is thrown away.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sink: Callable[[bytes], object],
        *,
        failed: Callable[[Exception], object],
        closed: Callable[[PipeReader], object],
    ) -> None:
        self._loop = loop
        self._sink: Callable[[bytes], object] | None = sink
        self._failed = failed
        self._closed = closed
        self._read_fd, self.write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        loop.add_reader(self._read_fd, self._read)

    def drain(self) -> None:
        """Read what is in the pipe now, without waiting for more."""
        if self._read_fd < 0:
            return
        # Not until it is empty: a background process may be filling it as fast as we read.
        waiting = int.from_bytes(fcntl.ioctl(self._read_fd, termios.FIONREAD, bytes(4)), sys.byteorder)
        while waiting > 0 and (size := self._read(waiting)):
            waiting -= size

    def discard(self) -> None:
        """Throw away what comes from now on."""
        self._sink = None

    def close(self) -> None:
        if self._read_fd >= 0:
            self._loop.remove_reader(self._read_fd)
            os.close(self._read_fd)
            self._read_fd = -1
            self._closed(self)

    def _read(self, size: int = _CHUNK) -> int:
        try:
            data = os.read(self._read_fd, min(size, _CHUNK))
        except BlockingIOError:
            return 0
        if not data:
            self.close()
        elif self._sink is not None:
            try:
                self._sink(data)
            except Exception as error:
                self._sink = None
                self._failed(error)
        return len(data)


async def write_to_pipe(fd: int, data: bytes) -> None:
    """Write to a pipe without blocking the running loop. Raises BrokenPipeError when nobody holds its other end."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            writable = loop.create_future()
            loop.add_writer(fd, writable.set_result, None)
            try:
                await writable
            finally:
                loop.remove_writer(fd)

"""Decompresses an answer piece by piece, so that a small one cannot become a large one unnoticed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

#: What is asked for. Answers are JSON, of which it leaves a fifth.
ACCEPTED = "gzip, deflate"

#: Bytes that are made of the compressed ones in one step: a few milliseconds.
STEP = 2**20

#: Window sizes by which zlib is told the format (zlib.decompressobj).
_GZIP = zlib.MAX_WBITS | 16
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS


class UnreadableContent(Exception):
    """A body is not what its `Content-Encoding` says. The text is one line."""


class Decompressor:
    """Makes the body of an answer out of what was sent, for a `Content-Encoding` (RFC 9110, 8.4)."""

    def __init__(self, content_encoding: str) -> None:
        """Raises UnreadableContent for an encoding that was not asked for."""
        names = [name.strip().lower() for name in content_encoding.split(",")]
        self._layers = [_Layer(name) for name in reversed(names) if name not in ("", "identity")]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what these bytes are decompressed, at most a megabyte at a time. Raises UnreadableContent."""
        return self._through(0, data)

    def _through(self, index: int, data: bytes) -> Iterator[bytes]:
        if index == len(self._layers):
            if data:
                yield data
            return
        for piece in self._layers[index].feed(data):
            yield from self._through(index + 1, piece)

    def end(self) -> None:
        """Raises UnreadableContent when more was to come."""
        for layer in self._layers:
            layer.end()


class _Layer:
    def __init__(self, name: str) -> None:
        if name not in ("gzip", "x-gzip", "deflate"):
            raise UnreadableContent(f"it is compressed by {name!r}, which was not asked for ({ACCEPTED})")
        self._name = name
        self._stream: zlib._Decompress | None = None
        # The first byte, until the second one is there.
        self._held = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        data = self._held + data
        if self._stream is None:
            self._held = data[:1] if len(data) < 2 else b""
            if len(data) < 2:
                return
            self._stream = zlib.decompressobj(self._window(data))
        while True:
            if self._stream.eof:
                if self._name == "deflate" or not data.strip(b"\0"):
                    return  # padding
                # What is gzip may consist of several (RFC 1952, 2.2).
                self._stream = zlib.decompressobj(_GZIP)
            piece = self._step(self._stream, data)
            if piece:
                yield piece
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            # A full step may leave some of what it could have made inside of zlib.
            if not data and len(piece) < STEP:
                return

    def _window(self, data: bytes) -> int:
        if self._name != "deflate":
            return _GZIP
        # It often comes without the zlib header that it should have (RFC 1950, 2.2).
        has_header = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
        return _ZLIB if has_header else _RAW

    def _step(self, stream: zlib._Decompress, data: bytes) -> bytes:
        try:
            return stream.decompress(data, STEP)
        except zlib.error:
            raise UnreadableContent(f"it is not {self._name}, as it claims to be") from None

    def end(self) -> None:
        if self._held or (self._stream is not None and not self._stream.eof):
            raise UnreadableContent(f"its {self._name} ends in the middle")

"""What is kept of a command's output."""

from __future__ import annotations

from typing import BinaryIO


class HeadTail:
    """Keeps the beginning and the end of a stream of bytes within `cap` bytes, and counts all of it.

    Raises ValueError for a negative cap.
    """

    def __init__(self, cap: int) -> None:
        if cap < 0:
            raise ValueError(f"max_output must not be negative, but is {cap}")
        self.total = 0
        self._cap = cap
        self._half = cap - cap // 2
        self._head = bytearray()
        self._tail = bytearray()

    @property
    def truncated(self) -> bool:
        return self.total > self._cap

    def feed(self, data: bytes) -> None:
        self.total += len(data)
        room = self._cap - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail += data[-self._half :] if self._half else b""
            # Trimmed at twice its size, not at every call, so that many small writes stay cheap.
            if len(self._tail) > 2 * self._half:
                del self._tail[: -self._half]

    def value(self) -> bytes:
        """Return what was kept; if bytes are missing, a line in the middle says how many.

        That line counts towards the cap; where the cap is too small for it, there is none.
        """
        if not self.truncated:
            return bytes(self._head)
        marker = _marker(self.total - self._cap)
        for _ in range(3):  # the marker's own length changes how much it has to announce
            if len(marker) > self._cap:
                marker = b""
                break
            marker = _marker(self.total - self._cap + len(marker))
        room = max(0, self._cap - len(marker))
        last = room // 2
        first = room - last
        end = bytes(self._head + self._tail)[-last:] if last else b""
        return bytes(self._head[:first]) + marker + end

    def take(self) -> bytes:
        """Return what was kept and start anew."""
        value = self.value()
        self.total = 0
        self._head.clear()
        self._tail.clear()
        return value


def _marker(missing: int) -> bytes:
    return b"\n[... %d bytes left out ...]\n" % missing


class Forward:
    """Passes a stream of bytes on to a file and counts it."""

    truncated = False

    def __init__(self, file: BinaryIO) -> None:
        self.total = 0
        self._file = file

    def feed(self, data: bytes) -> None:
        self.total += len(data)
        rest = memoryview(data)
        while rest:  # an unbuffered file may take less than it is given
            written = self._file.write(rest)
            rest = rest[len(rest) if written is None else written :]

    def value(self) -> bytes:
        return b""

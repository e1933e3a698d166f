"""Finds the wrapper's markers in a stream, and takes them out."""

from __future__ import annotations

from collections.abc import Callable

#: Bytes between a marker's beginning and its end: `beg`, or the exit code in three digits.
_FIELD = 3
_BEGUN = b"beg"


class MarkedStream:
    """Passes a stream on to a sink up to the marker that ends it; what comes later is others' and thrown away.

    Markers begin with a NUL and then `marker`, which is what wrap.sh was given.
    `begun` and `ended` are called at the markers, the latter with the exit code.
    """

    def __init__(
        self,
        marker: str,
        sink: Callable[[bytes], object],
        *,
        begun: Callable[[], object],
        ended: Callable[[int], object],
    ) -> None:
        self._prefix = b"\0" + marker.encode()
        self._size = len(self._prefix) + _FIELD + 1
        self._sink = sink
        self._begun = begun
        self._ended = ended
        self._held = b""
        self._over = False

    def feed(self, data: bytes) -> None:
        data = self._held + data
        self._held = b""
        while data and not self._over:
            start = data.find(self._prefix)
            if start < 0:
                start = self._possible_start(data)
            if start > 0:
                self._sink(data[:start])
                data = data[start:]
            if len(data) < self._size:
                self._held = data
                return
            self._read_marker(data[len(self._prefix) : self._size - 1])
            data = data[self._size :]

    def mute(self) -> None:
        """Pass nothing on any more, but go on looking for markers."""
        self._sink = _nowhere

    def finish(self) -> None:
        """The stream has ended: what looked like the beginning of a marker was none."""
        if self._held and not self._over:
            self._sink(self._held)
        self._over = True

    def _possible_start(self, data: bytes) -> int:
        """Where a marker may begin whose rest has not come yet; the end of the data when there is none."""
        # There is one NUL in a marker, and it comes first.
        last = data.rfind(b"\0", max(0, len(data) - len(self._prefix)))
        return last if last >= 0 and self._prefix.startswith(data[last:]) else len(data)

    def _read_marker(self, field: bytes) -> None:
        if field == _BEGUN:
            self._begun()
        else:
            self._over = True
            self._ended(int(field) if field.isdigit() else 1)


def _nowhere(data: bytes) -> None:
    pass

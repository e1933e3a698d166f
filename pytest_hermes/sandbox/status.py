"""What keeps sandboxes from starting and takes its time, such as a build, for who shows how a run stands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_current: dict[object, str] = {}
_lock = threading.Lock()


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """Show `text` as long as this lasts; what it gives adds how far it has come, e.g. `step 3/7`. For any thread."""
    key = object()

    def tell(progress: str) -> None:
        with _lock:
            _current[key] = f"{text} ({progress})"

    with _lock:
        _current[key] = text
    try:
        yield tell
    finally:
        with _lock:
            del _current[key]


def statuses() -> tuple[str, ...]:
    """Return what goes on in this process, the oldest first."""
    with _lock:
        return tuple(_current.values())

"""What of this process commands must not see: its environment, where they are not isolated, and folders it names."""

from __future__ import annotations

import ctypes
import sys
import threading

_PR_SET_DUMPABLE = 4

_lock = threading.Lock()
_holders = 0
_paths: dict[str, None] = {}


def keep_private(path: str) -> None:
    """Let isolated sandboxes that start from now on not show `path`, an absolute one, even in a folder they show."""
    with _lock:
        _paths[path] = None


def private_paths() -> list[str]:
    """Return what `keep_private` was given."""
    return list(_paths)


def hide() -> None:
    """Make /proc/PID/environ of this process unreadable to others of its user, until as many calls of `show`.

    Root with all its capabilities reads it all the same: the supervisor drops the one it takes.
    """
    _count(+1)


def show() -> None:
    """Take back one `hide`."""
    _count(-1)


def _count(change: int) -> None:
    global _holders
    if sys.platform != "linux":
        return
    with _lock:
        _holders += change
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0 if _holders else 1), 0, 0, 0)

"""Keeping this process's environment from commands that run as the same user without isolation."""

from __future__ import annotations

import ctypes
import sys
import threading

_PR_SET_DUMPABLE = 4

_lock = threading.Lock()
_holders = 0


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

"""The processes of a mount namespace, as the machine's /proc shows them. Runs in a bare interpreter; see monitor.py.

No process leaves its mount namespace, or enters another, without a capability that containers do not have.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found, unused-ignore]
import os
import time

#: Seconds for which they are hunted (one in an uninterruptible wait cannot be killed).
_PATIENCE = 20.0
_PAUSE = 0.002


def end_all(host: int, namespace: str) -> bool:
    """End all processes of a mount namespace but this one; return whether none is left.

    `host` is a descriptor of the machine's /proc, `namespace` what a process's ns/mnt leads to there.
    """
    deadline = time.monotonic() + _PATIENCE
    stopped: set[int] = set()
    while time.monotonic() < deadline:
        found = {int(name) for name in os.listdir(host) if name.isdigit() and _is_in(host, name, namespace)}
        found.discard(os.getpid())
        if not found:
            return True
        # Stopped first, so that nothing forks faster than it is found.
        fresh = found - stopped
        stopped |= fresh
        for pid in fresh or found:
            _signal(host, pid, namespace, signal.SIGSTOP if fresh else signal.SIGKILL)
        if not fresh:
            time.sleep(_PAUSE)
    return False


def _signal(host: int, pid: int, namespace: str, number: int) -> None:
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _is_in(host, str(pid), namespace):  # it is the one that was found, and no later one with its number
            signal.pidfd_send_signal(process, number)
    except OSError:
        pass
    finally:
        os.close(process)


def _is_in(host: int, pid: str, namespace: str) -> bool:
    if _namespace(host, pid) == namespace:
        return True
    # Its first thread may have ended, and others go on.
    try:
        threads = os.open(f"{pid}/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=host)
    except OSError:
        return False
    try:
        return any(_namespace(threads, thread) == namespace for thread in os.listdir(threads))
    except OSError:
        return False
    finally:
        os.close(threads)


def _namespace(folder: int, pid: str) -> str:
    try:
        return os.readlink(f"{pid}/ns/mnt", dir_fd=folder)
    except OSError:
        return ""

"""Finding and ending the processes of a sandbox."""

# ruff: noqa: SIM105 - contextlib would take a millisecond to import

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found, unused-ignore]
import errno
import os
import sys
import time

#: Seconds for which descendants are hunted before they are left to the kernel (a process in an
#: uninterruptible wait cannot be killed).
PATIENCE = 4.0

LINUX = sys.platform == "linux"


def exterminate() -> bool:
    """Kill and reap every descendant of this process; return whether none is left."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if os.getpid() == 1:
            kill(-1, signal.SIGKILL)  # all that there is in bubblewrap, at one go
        else:
            for pid in _stopped_descendants():
                kill(pid, signal.SIGKILL)
        pause = 0.0002
        while time.monotonic() < deadline:
            try:
                if os.waitpid(-1, os.WNOHANG)[0]:
                    continue
            except ChildProcessError:
                return True
            if pause > 0.01:
                break  # something new may have come: look again
            time.sleep(pause)
            pause *= 2
    return False


def too_many(error: OSError) -> bool:
    """Whether a fork failed with `error` because there can be no more processes."""
    return error.errno == errno.EAGAIN


def crowded(limit: int) -> bool:
    """Whether these are an isolated sandbox's own, which may have `limit` processes.

    The machine may have a lower limit for all that runs on it: so a quarter of the sandbox's is taken for many.
    """
    return limit <= 4 * _running()


def _running() -> int:
    threads = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                threads += len(os.listdir(f"/proc/{name}/task"))
            except OSError:  # it has ended
                continue
    return threads


def _stopped_descendants() -> set[int]:
    """Stop all descendants, parents first, so that nothing forks faster than it is found; return them."""
    found: set[int] = set()
    before = -1
    while before < len(found):
        before = len(found)
        ahead = [os.getpid()]
        while ahead:
            for child in children(ahead.pop()):
                if child not in found:
                    found.add(child)
                    kill(child, signal.SIGSTOP)
                ahead.append(child)
    return found


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children; none where there is no /proc."""
    children: list[int] = []
    if not LINUX:
        return children
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", 0) as file:
                children += map(int, file.read().split())
    except OSError:  # it has gone
        pass
    return children


def kill(pid: int, number: int) -> None:
    """Send a signal, if there is still such a process."""
    try:
        os.kill(pid, number)
    except OSError:
        pass

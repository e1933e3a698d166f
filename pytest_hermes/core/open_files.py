"""How many files, pipes and connections this process may have open at once (`ulimit -n`)."""

from __future__ import annotations

import contextlib
import errno
import os
import resource

#: The limit that this process was started with, which its children should have.
_AT_START, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

#: Tried in turn where the hard limit cannot be had: that of Linux's kernel, and that of macOS.
_LARGEST = (1 << 20, 10_240)

#: What any code may meet when this machine, or what it gives to this process, is used up.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT})


def raise_limit() -> None:
    """Raise the soft limit to the hard one, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (hard, *_LARGEST):
        if soft == resource.RLIM_INFINITY or (limit != resource.RLIM_INFINITY and limit <= soft):
            return
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            return


def limit() -> int:
    """Return how many may be open at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 30 if soft == resource.RLIM_INFINITY else soft


def in_use() -> int:
    """Return how many are open."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return len(os.listdir(folder))
    return 0


def restoring_code() -> str:
    """Return a line of Python that gives a child process the limit that this process was started with.

    Some programs close every descriptor that there could be, and those that use `select` can handle no more than 1,024.
    """
    limits = f"({_AT_START}, r.getrlimit(r.RLIMIT_NOFILE)[1])"
    return f"import resource as r; r.setrlimit(r.RLIMIT_NOFILE, {limits})\n"


def is_exhaustion(error: BaseException) -> bool:
    """Return whether an exception says that this machine has no more of something: descriptors, memory, disk."""
    return isinstance(error, OSError) and error.errno in _EXHAUSTED

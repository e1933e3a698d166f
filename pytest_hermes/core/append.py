"""Appends to a file that others read line by line."""

from __future__ import annotations

import contextlib
import os


def append_whole(file: int, data: bytes, *, sync: bool = False) -> None:
    """Append `data` to a file opened for appending: in one write, so a process that is killed leaves whole lines.

    A disk that runs full takes what fits, and refuses the rest: then what it took is taken back, since half a line
    would be in the way of whoever reads the others, and the OSError raised. `sync` waits until it is on the disk.
    """
    written = 0
    try:
        while written < len(data):
            written += os.write(file, data[written:])
        if sync:
            os.fsync(file)
    except OSError:
        if written:
            with contextlib.suppress(OSError):
                os.ftruncate(file, os.fstat(file).st_size - written)
        raise

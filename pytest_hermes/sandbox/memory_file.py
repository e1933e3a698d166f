"""Files without a name."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import BinaryIO

#: Larger ones go to disk.
_IN_MEMORY = 1 << 20


def memory_file(data: bytes = b"") -> int:
    """Return a descriptor of a nameless file that holds `data`, positioned at its beginning."""
    if len(data) <= _IN_MEMORY and hasattr(os, "memfd_create"):
        fd = os.memfd_create("hermes", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile(prefix="hermes-") as file:
            fd = os.dup(file.fileno())
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def copied_file(source: BinaryIO) -> int:
    """Return a descriptor of a nameless copy of `source` from its position on; that of the copy is its beginning.

    A copy, since whoever is given a descriptor can open its file again, for writing.
    """
    with tempfile.TemporaryFile(prefix="hermes-") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        file.seek(0)
        return os.dup(file.fileno())

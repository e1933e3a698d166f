"""Writes the seccomp filters of a process, marshalled, to its stdout. Runs in a bare interpreter.

It reads them as a debugger would, since nothing else gives them away: they are the engine's, as it has compiled them.
"""

from __future__ import annotations

import marshal
import sys

from .linux import seccomp_filters


def main(pid: int) -> None:
    try:
        found = seccomp_filters(pid)
    except OSError as error:
        sys.exit(str(error.strerror))
    sys.stdout.buffer.write(marshal.dumps(found))

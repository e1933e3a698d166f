"""The processor time of a process and of all that it starts.

`RUSAGE_CHILDREN` leaves out what nobody waits for, such as the processes of a sandbox that the kernel reaps. A control
group counts them all. Where none can be made (it needs root), only the processes that are waited for are counted.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
from pathlib import Path
from typing import Self

#: Where control groups that count processor time are: version 1 and version 2.
_ROOTS = (Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup/cpu,cpuacct"), Path("/sys/fs/cgroup"))

_numbers = itertools.count()


class CpuTime:
    """Counts from the moment in which a process is added. Use it in `with`."""

    def __init__(self) -> None:
        self._root: Path | None = None
        self._group = Path()
        self._before = 0.0

    def __enter__(self) -> Self:
        for root in _ROOTS:
            group = root / f"hermes-performance-{os.getpid()}-{next(_numbers)}"
            with contextlib.suppress(OSError):
                group.mkdir()
                if any((group / name).exists() for name in ("cpuacct.usage", "cpu.stat")):
                    self._root, self._group = root, group
                    break
                group.rmdir()
        self._before = _waited_for()
        return self

    def add(self, pid: int) -> None:
        """Count a process, and all that it starts from now on."""
        if self._root is not None:
            (self._group / "cgroup.procs").write_text(str(pid))

    @property
    def seconds(self) -> float:
        """The processor time used so far."""
        if self._root is None:
            return _waited_for() - self._before
        if (self._group / "cpuacct.usage").exists():
            return int((self._group / "cpuacct.usage").read_text()) / 1e9
        return int((self._group / "cpu.stat").read_text().split()[1]) / 1e6

    def __exit__(self, *raised: object) -> None:
        if self._root is None:
            return
        # What still runs is somebody else's from now on.
        for pid in (self._group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (self._root / "cgroup.procs").write_text(pid)
        with contextlib.suppress(OSError):
            self._group.rmdir()


def _waited_for() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)

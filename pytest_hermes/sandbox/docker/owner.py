"""Whose a container is: a process of this machine, told from every other that ever had or will have its number."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from pathlib import Path

from ...core.processes import has_ended, start_of

#: The label by which containers are found again; its value is an `Owner`'s text.
LABEL = "pytest-hermes.owner"

#: The label that holds the name of the sandbox, for people.
NAME_LABEL = "pytest-hermes.sandbox"


def current_owner() -> str:
    """Return the label's value for containers of this process: machine, process id and when the process started."""
    pid = os.getpid()
    return f"{_machine()}:{pid}:{start_of(pid)}"


def is_dead(owner: str) -> bool:
    """Whether the process is one of this machine that has ended; False where that cannot be told."""
    machine, _, rest = owner.partition(":")
    pid, _, started = rest.partition(":")
    if machine != _machine() or not pid.isdigit() or not started:
        return False
    return has_ended(int(pid), started)


@functools.cache
def _machine() -> str:
    """Names this boot of this machine, and the numbering of its processes: containers may share an engine."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    return platform.node()

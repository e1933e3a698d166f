"""Whose a container is: a process of this machine, told from every other that ever had or will have its number."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
from pathlib import Path

#: The label by which containers are found again; its value is an `Owner`'s text.
LABEL = "pytest-hermes.owner"

#: The label that holds the name of the sandbox, for people.
NAME_LABEL = "pytest-hermes.sandbox"


def current_owner() -> str:
    """Return the label's value for containers of this process: machine, process id and when the process started."""
    pid = os.getpid()
    return f"{_machine()}:{pid}:{_started(pid)}"


def is_dead(owner: str) -> bool:
    """Whether the process is one of this machine that has ended; False where that cannot be told."""
    machine, _, rest = owner.partition(":")
    pid, _, started = rest.partition(":")
    if machine != _machine() or not pid.isdigit() or not started:
        return False
    now = _started(int(pid))
    return now != started if now else not _lives(int(pid))


@functools.cache
def _machine() -> str:
    """Names this boot of this machine, and the numbering of its processes: containers may share an engine."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    return platform.node()


def _lives(pid: int) -> bool:
    """Whether there is such a process, also where those of others cannot be looked at."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _started(pid: int) -> str:
    """When a process started, in whatever unit the system has; empty when there is no such process."""
    if os.path.exists("/proc/self/stat"):
        try:
            # The fields that follow the name, which may hold anything: the 20th is the start, in ticks since the boot.
            return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        except OSError:
            return ""
    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return "-".join(listed.stdout.split()).replace(":", ".")

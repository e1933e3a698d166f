"""Tells processes of this machine from every other that ever had or will have their number."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def start_of(pid: int) -> str:
    """Return when a process started, in whatever unit the system has, as one word; empty when that cannot be told."""
    if os.path.exists("/proc/self/stat"):
        try:
            # The fields that follow the name, which may hold anything: the 20th is the start, in ticks since the boot.
            return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        except OSError:
            return ""
    try:
        listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return ".".join(listed.stdout.replace(":", ".").split())


def has_ended(pid: int, start: str) -> bool:
    """Return whether the process with this number that started then has ended; False where that cannot be told."""
    now = start_of(pid)
    if now:
        return now != start
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False

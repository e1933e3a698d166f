"""Bubblewrap: does it work here, and how a sandbox is wrapped in it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass

from .launch import interpreter
from .mounts import FileSystem
from .visible import file_system

#: What root keeps inside, as containers have it, without mknod and raw sockets: the network may be the host's.
_CAPABILITIES = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)

#: How often a start that fails for a passing reason is made in all.
ATTEMPTS = 10

_probing = threading.Lock()


@dataclass(frozen=True)
class Probe:
    """Whether bubblewrap can be used: `problem` is None, or one line that says why not."""

    problem: str | None
    #: It can also cut off the network.
    network_none: bool


def probe() -> Probe:
    """Try bubblewrap out, once per process; the first call takes some 20 ms."""
    with _probing:
        return _probe()


def passing(complaint: str) -> bool:
    """Whether what bubblewrap said may not be so the next time.

    It reads the list of mounts and then changes each of them: one that goes away in between, as those of containers
    do all the time, ends it (https://github.com/containers/bubblewrap/issues/650).
    """
    return "bind mount" in complaint and "mount flags" in complaint


def arguments(files: FileSystem, *, network: bool) -> list[str]:
    """Return the command line up to the program, which then sees `files`."""
    args = [shutil.which("bwrap") or "bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if not network:
        args.append("--unshare-net")
    # As init, what runs inside has to reap; when it ends, the kernel kills all the others.
    args += ["--die-with-parent", "--as-pid-1"]
    if os.geteuid() == 0:
        args += ["--cap-drop", "ALL"]
        for name in _CAPABILITIES:
            args += ["--cap-add", f"CAP_{name}"]
    return [*args, *files.arguments(), "--dev", "/dev", "--proc", "/proc", "--chdir", "/", "--"]


@functools.cache
def _probe() -> Probe:
    if not sys.platform.startswith("linux"):
        return Probe("bubblewrap needs Linux", False)
    if shutil.which("bwrap") is None:
        return Probe("bwrap is not on PATH", False)
    if _attempt(network=False) is None:
        return Probe(None, True)
    problem = _attempt(network=True)
    return Probe(problem, False)


def _attempt(*, network: bool) -> str | None:
    """Return None if it worked, else one line."""
    for _ in range(ATTEMPTS):
        try:
            args = [arg for arg in arguments(file_system(), network=network) if arg != "--die-with-parent"]
            done = subprocess.run(
                [*args, interpreter(), "-I", "-S", "-c", ""],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=20,
                env={"PATH": os.environ.get("PATH", os.defpath)},
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"bwrap does not work here: {error}"
        if done.returncode == 0:
            return None
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        problem = f"bwrap does not work here: {lines[-1] if lines else f'exit code {done.returncode}'}"
        if not passing(problem):
            break
    return problem

"""Bubblewrap: does it work here, and how a sandbox is wrapped in it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass

from .launch import command, supervisor_program
from .memory_file import memory_file
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

#: What the supervisor has besides, and keeps from its commands. Others than root need them too, in a user namespace:
#: the first one to drop the other two.
_SUPERVISORS = ("SETPCAP", "SYS_ADMIN", "WAKE_ALARM")

#: By these, root changes the machine itself, whatever capabilities it lacks.
_READ_ONLY_IN_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")

#: How many processes a sandbox may have that says nothing else, as in containers.
DEFAULT_PIDS = 4096

#: How often a start that fails for a passing reason is made in all.
ATTEMPTS = 10

_probing = threading.Lock()


@dataclass(frozen=True)
class Probe:
    """Whether bubblewrap can be used: `problem` is None, or one line that says why not."""

    problem: str | None
    #: It can also cut off the network.
    network_none: bool = False
    #: The supervisor can have the capabilities that it needs for private commands.
    supervised: bool = False
    #: Commands can have private folders.
    private_folders: bool = False
    #: The number of processes can be limited.
    limited: bool = False


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


def arguments(files: FileSystem, *, network: bool, supervised: bool) -> list[str]:
    """Return the command line up to the supervisor, which then sees `files`.

    `supervised`: it has the capabilities for private commands.
    """
    args = [shutil.which("bwrap") or "bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if not network:
        args.append("--unshare-net")
    # As init, what runs inside has to reap; when it ends, the kernel kills all the others.
    args += ["--die-with-parent", "--as-pid-1"]
    args += ["--cap-drop", "ALL"]
    for name in dict.fromkeys([*(_CAPABILITIES if os.geteuid() == 0 else ()), *(_SUPERVISORS if supervised else ())]):
        args += ["--cap-add", f"CAP_{name}"]
    args += [*files.arguments(), "--dev", "/dev", "--proc", "/proc"]
    for name in _READ_ONLY_IN_PROC:
        args += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
    return [*args, "--chdir", "/", "--"]


@functools.cache
def _probe() -> Probe:
    if not sys.platform.startswith("linux"):
        return Probe("bubblewrap needs Linux")
    if shutil.which("bwrap") is None:
        return Probe("bwrap is not on PATH")
    # An older bubblewrap, or a machine that has taken these from root, gives no such capabilities.
    for supervised in (True, False):
        for network in (False, True):
            found = _attempt(network=network, supervised=supervised)
            if found.problem is None:
                return found
    return found


def _attempt(*, network: bool, supervised: bool) -> Probe:
    for _ in range(ATTEMPTS):
        program = memory_file(supervisor_program())
        try:
            args = arguments(file_system(), network=network, supervised=supervised)
            done = subprocess.run(
                [
                    *(arg for arg in args if arg != "--die-with-parent"),
                    *(*command(program), "probe", str(DEFAULT_PIDS)),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=20,
                pass_fds=[program],
                env={"PATH": os.environ.get("PATH", os.defpath)},
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Probe(f"bwrap does not work here: {error}")
        finally:
            os.close(program)
        if done.returncode == 0:
            works = done.stdout.split()
            return Probe(
                None,
                network_none=not network,
                supervised=supervised,
                private_folders=b"private" in works,
                limited=b"limited" in works,
            )
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        problem = f"bwrap does not work here: {lines[-1] if lines else f'exit code {done.returncode}'}"
        if not passing(problem):
            break
    return Probe(problem)

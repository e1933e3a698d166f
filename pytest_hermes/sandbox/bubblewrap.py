"""Bubblewrap: does it work here, and how a sandbox is wrapped in it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from .launch import interpreter

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

#: Below the user's home folder: where programs keep what nobody else should read.
_CREDENTIALS = (
    ".aws",
    ".azure",
    ".cache/huggingface/token",
    ".config/containers",
    ".config/gcloud",
    ".config/gh",
    ".config/hub",
    ".daytona",
    ".docker",
    ".git-credentials",
    ".gnupg",
    ".huggingface",
    ".kube",
    ".modal.toml",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    ".ssh",
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


def hidden_folders() -> list[str]:
    """Folders of the host in whose place a sandbox has an empty one of its own."""
    folders = {os.path.realpath(path) for path in ("/tmp", "/var/tmp", tempfile.gettempdir()) if os.path.isdir(path)}
    return sorted(folders - {"/"})


def arguments(folder: str | None, *, network: bool) -> list[str]:
    """Return the command line up to the program: the host's files read-only, and `folder` writable."""
    args = [shutil.which("bwrap") or "bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if not network:
        args.append("--unshare-net")
    # As init, what runs inside has to reap; when it ends, the kernel kills all the others.
    args += ["--die-with-parent", "--as-pid-1"]
    if os.geteuid() == 0:
        args += ["--cap-drop", "ALL"]
        for name in _CAPABILITIES:
            args += ["--cap-add", f"CAP_{name}"]
    args += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    # /run holds the control sockets of container engines and of the system; who can talk to them owns the host.
    masked = [*hidden_folders(), *([os.path.realpath("/run")] if os.path.isdir("/run") else [])]
    for path in masked:
        args += ["--tmpfs", path]
    for path in _needed_again(masked):
        args += ["--ro-bind", path, path]
    for path in _secrets():
        args += ["--tmpfs", path] if os.path.isdir(path) else ["--ro-bind", os.devnull, path]
    if folder is not None:
        args += ["--bind", folder, folder]
    return [*args, "--chdir", "/", "--"]


def _needed_again(masked: list[str]) -> list[str]:
    """What programs need although it lies below a masked folder."""
    wanted = [sys.base_prefix, sys.base_exec_prefix]
    resolver = os.path.realpath("/etc/resolv.conf")
    wanted.append(os.path.dirname(resolver))
    # Some systems keep their programs below /run.
    wanted += [path for path in os.environ.get("PATH", "").split(":") if path.startswith("/run/")]
    found = {os.path.realpath(path) for path in wanted if os.path.isdir(path)}
    return sorted(path for path in found if path not in masked and any(_within(path, mask) for mask in masked))


def _secrets() -> list[str]:
    home = os.path.expanduser("~")
    paths = [os.path.join(home, name) for name in _CREDENTIALS]
    # Engines that listen elsewhere than below /run.
    paths.append("/var/run/docker.sock")
    host = os.environ.get("DOCKER_HOST", "")
    if host.startswith("unix://"):
        paths.append(host.removeprefix("unix://"))
    real = {os.path.realpath(path) for path in paths if os.path.lexists(path)}
    hidden = [*hidden_folders(), "/run", os.path.realpath("/run")]
    return sorted(path for path in real if os.path.exists(path) and not any(_within(path, mask) for mask in hidden))


def _within(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


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
    args = [arg for arg in arguments(None, network=network) if arg != "--die-with-parent"]
    for _ in range(ATTEMPTS):
        try:
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

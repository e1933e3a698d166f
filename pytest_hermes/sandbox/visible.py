"""What of the host's file system a sandbox in bubblewrap sees: what is listed here, and nothing else.

An agent that could see more would find the answers: reference solutions in a cache, a benchmark's source, the records
of other attempts, and its user's keys.
"""

from __future__ import annotations

import functools
import os
import pwd
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from glob import glob

from . import privacy
from .benchmark_files import benchmark_files
from .etc_folder import EtcFolder
from .mounts import FileSystem, Mount, read_only, within
from .programs import program_mounts, site_packages

#: Folders of programs and of what they need, which hold nothing of a user's.
_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/gnu/store",
    "/nix/store",
    "/sys/devices/system",
    "/var/cache/fontconfig",
    "/var/lib/ca-certificates",
    "/var/lib/dpkg",
    "/var/lib/texmf",
    "/var/lock",
    "/var/run",
)

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: What a system has besides, here empty.
_EMPTY = ("/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/var/cache", "/var/log", "/var/tmp")

#: Variables that name folders of a user's data.
_FOLDER_VARIABLES = (
    "HF_HOME",
    "PYTEST_HERMES_CACHE_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
)

_looking = threading.Lock()


def host_path() -> str:
    """Return the absolute folders in this process's PATH, joined as there."""
    return ":".join(folder for folder in os.environ.get("PATH", "").split(":") if folder.startswith("/")) or _PATH


def file_system(*more: Mount) -> FileSystem:
    """Return what sandboxes see of the host, and `more`.

    In `more`, what is kept private stays hidden, unless it is itself what is mounted. The first call for the same
    surroundings looks at the programs of PATH and at what is installed, some 50 ms.
    """
    with _looking:
        seen = _seen(os.getpid(), host_path(), tuple(_homes()), tuple(_private())).copy()
    seen.add(*more)
    named = {mount.source for mount in more}
    seen.hide(path for path in _hideable(map(os.path.realpath, privacy.private_paths())) if path not in named)
    return seen


def shared_temporary_folders() -> list[str]:
    """Return the real paths of the folders for which a sandbox has an empty one that any user may write to."""
    return sorted({os.path.realpath(path) for path in ("/tmp", "/var/tmp")})


@functools.cache
def _seen(_pid: int, path: str, homes: Sequence[str], private: Sequence[str]) -> FileSystem:
    seen = FileSystem()
    seen.add(*(Mount("folder", folder) for folder in (*_EMPTY, *homes[:1])))
    seen.add(*_system())
    seen.add(*EtcFolder().mounts)
    seen.add(*program_mounts(path.split(":"), homes=homes, private=private))
    seen.hide(_hideable([*homes, *private]))
    folders = [
        mount.source for mount in seen.shown() if not mount.target.startswith("/etc/") and os.path.isdir(mount.source)
    ]
    seen.hide(benchmark_files(place for folder in folders for place in site_packages(folder)))
    return seen


def _system() -> Iterator[Mount]:
    for path in _SYSTEM:
        if os.path.islink(path):
            yield Mount("link", path, os.readlink(path))
        elif os.path.exists(path):
            yield read_only(path)


def _homes() -> list[str]:
    """Home folders, that of this process's user first."""
    own = os.path.expanduser("~")
    try:
        entry = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # in a container, a user may have a number only
        entry = own
    return list(dict.fromkeys(os.path.realpath(path) for path in (own, entry, "/root", *glob("/home/*"))))


def _private() -> list[str]:
    """The other folders that hold what a user, this process or another run of it works with."""
    named = [os.environ.get(name, "") for name in _FOLDER_VARIABLES]
    engine = os.environ.get("DOCKER_HOST", "").removeprefix("unix://")
    paths = [_here(), tempfile.gettempdir(), "/tmp", "/var/tmp", *named, engine]
    return list(dict.fromkeys(os.path.realpath(path) for path in paths if path.startswith("/")))


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return ""


def _hideable(paths: Iterable[str]) -> Iterator[str]:
    """Yield those without which the system still works: a container's user may have `/` for a home."""
    kept = [*_SYSTEM, "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/share"]
    yield from (path for path in paths if not any(within(needed, path) for needed in kept))

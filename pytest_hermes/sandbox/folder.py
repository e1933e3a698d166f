"""The folders of local sandboxes and of runs, and what dead processes left of theirs."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import re
import secrets
import stat
import tempfile
import threading

from ..core.processes import has_ended, start_of
from .supervisor.emptying import empty

_NAME = re.compile(r"hermes-(\d+)-([\w.]*)-[0-9a-f]{8}")
_sweeping = threading.Lock()
_log = logging.getLogger(__name__)


class OwnedFolder:
    """A folder under the system's temporary folder that goes with the process that made it.

    Its name tells its owner: process id and start time, since ids are used again. As long as it is in use it is
    also locked, which holds where process ids do not: across containers that share a temporary folder.
    """

    def __init__(self) -> None:
        pid = os.getpid()
        name = f"hermes-{pid}-{start_of(pid)}-{secrets.token_hex(4)}"
        self.path = os.path.join(os.path.realpath(tempfile.gettempdir()), name)
        self._lock = -1

    def make(self) -> None:
        """Create it. The first call in a process also removes what dead owners left."""
        _sweep_once(os.path.dirname(self.path))
        os.mkdir(self.path, 0o700)
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Remove it with all it holds. No process may be at work in it. May be called twice."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        _remove(self.path)


class SandboxFolder(OwnedFolder):
    """One with the folders `home` and `scratch` in it."""

    def __init__(self) -> None:
        super().__init__()
        self.home = f"{self.path}/home"
        self.scratch = f"{self.path}/scratch"

    def make(self) -> None:
        super().make()
        os.mkdir(self.home, 0o755)
        os.mkdir(self.scratch, 0o700)


def sweep(parent: str) -> list[str]:
    """Remove the folders in `parent` whose owners are dead; return their paths."""
    removed = []
    with os.scandir(parent) as entries:
        candidates = [entry.path for entry in entries if _is_left_over(entry)]
    for path in candidates:
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except OSError:  # unreadable: nobody holds a lock on it either
            lock = -1
        try:
            if lock >= 0:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        except OSError:
            pass
        finally:
            if lock >= 0:
                os.close(lock)
        _remove(path)
        removed.append(path)
    return removed


def _is_left_over(entry: os.DirEntry[str]) -> bool:
    match = _NAME.fullmatch(entry.name)
    if match is None:
        return False
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        return False
    return has_ended(int(match[1]), match[2])


def _sweep_once(parent: str) -> None:
    with _sweeping:
        _swept(parent, os.getpid())


@functools.cache
def _swept(parent: str, _pid: int) -> None:
    sweep(parent)


def _remove(path: str) -> None:
    try:
        empty(path)
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.warning("%s cannot be removed: %s", path, error.strerror)

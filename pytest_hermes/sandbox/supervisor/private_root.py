"""A file system for one command, in which some folders are its own and everything else is shared.

A mount on a folder that others may remove or rename goes with it, whatever namespace it is in. So nothing is mounted on
the private folders: the root folder is a new one, in memory, and what the old one holds is mounted in it. The same goes
for each folder around a private one. What is made in these folders themselves is private too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from .system import (
    CLONE_NEWNS,
    MS_NODEV,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    clone_mount,
    mount,
    move_mount,
    pivot_root,
    unmount,
    unshare,
)

#: Where the new root is built: nothing can remove this folder while it is built, because something is mounted on it.
_SITE = "/proc"

_OPEN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def enter(folders: Sequence[str]) -> None:
    """Move this process to such a file system. `folders` are absolute and normalised. Raises OSError.

    It must be the only thread, and may do so once. Its current folder is then the root.
    """
    unshare(CLONE_NEWNS)
    mount(None, b"/", MS_REC | MS_PRIVATE)
    old = os.open("/", _OPEN | os.O_DIRECTORY)
    covered = os.open(_SITE, _OPEN | os.O_DIRECTORY)
    processes = clone_mount(covered)
    os.close(covered)
    mode = stat.S_IMODE(os.fstat(old).st_mode)
    mount(b"tmpfs", _SITE.encode(), MS_NOSUID | MS_NODEV, f"mode={mode:o}".encode())
    new = os.open(_SITE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    umask = os.umask(0o022)
    os.mkdir(_SITE[1:], 0o755, dir_fd=new)
    move_mount(processes, new, _SITE[1:].encode())
    os.close(processes)
    private = {tuple(part for part in folder.split("/") if part) for folder in folders}
    _fill(new, old, (), private, left_out=_SITE[1:])
    os.fchdir(new)
    os.close(new)
    os.close(old)
    pivot_root(b".", b".")
    unmount(b".")
    os.chdir("/")
    for folder in folders:
        os.makedirs(folder, exist_ok=True)
    os.umask(umask)


def _fill(
    new: int, old: int, path: tuple[str, ...], private: set[tuple[str, ...]], *, left_out: str | None = None
) -> None:
    """Let the folder `new` hold what the folder `old`, at `path`, does, but for private folders."""
    for name in _names(old):
        inner = (*path, name)
        if name == left_out or inner in private:
            continue
        try:
            entry = os.open(name, _OPEN, dir_fd=old)
        except OSError:  # it has gone
            continue
        try:
            kind = os.fstat(entry).st_mode
            if any(folder[: len(inner)] == inner for folder in private):
                if stat.S_ISDIR(kind):
                    _fill_inner(new, entry, inner, private)
            elif stat.S_ISLNK(kind):
                os.symlink(os.readlink("", dir_fd=entry), name, dir_fd=new)
            else:
                _attach(new, entry, name, folder=stat.S_ISDIR(kind))
        finally:
            os.close(entry)


def _fill_inner(new: int, old: int, path: tuple[str, ...], private: set[tuple[str, ...]]) -> None:
    os.mkdir(path[-1], 0o755, dir_fd=new)
    inner = os.open(path[-1], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=new)
    try:
        _fill(inner, old, path, private)
    finally:
        os.close(inner)


def _names(folder: int) -> list[str]:
    try:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:  # it may not be read: then its content cannot be shared
        return []
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def _attach(new: int, entry: int, name: str, *, folder: bool) -> None:
    if folder:
        os.mkdir(name, 0o755, dir_fd=new)
    else:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=new))
    copy = clone_mount(entry)
    try:
        move_mount(copy, new, os.fsencode(name))
    finally:
        os.close(copy)

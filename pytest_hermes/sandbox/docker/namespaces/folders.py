"""The folders of one command: file systems in memory, in the mount namespace of this process.

Such a folder is mounted on one of the container's file system, which others can still rename or remove. The mount then
moves or vanishes here too, and another folder takes its place: what the command reads there is no longer what it was
given. That cannot be prevented, but it can be watched: the kernel tells of all changes to the names that lead to a
folder, and a watch has heard of a change before anybody can use it.

Runs in a bare interpreter; see monitor.py.
"""

from __future__ import annotations

import os

from .linux import move_mount, new_tmpfs, new_watch, watch_names, watched_events

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW


class Unfit(Exception):
    """The container's files keep the command from its folders."""


class Folders:
    """The folders `paths`, mounted, owned by `uid` and `gid`, of `size` bytes at most each. Raises Unfit."""

    def __init__(self, paths: list[str], size: int, uid: int, gid: int) -> None:
        #: Can be read when there may be something to hear of.
        self.watch = new_watch()
        self._guarded: set[tuple[int, str]] = set()
        for path in paths:
            mount = new_tmpfs(size=str(size), mode="0755", uid=str(uid), gid=str(gid))
            folder = self._walk(path, make=True)
            move_mount(mount, folder)
            # From here on the watch tells. What was renamed before it began shows in where the path leads now.
            found = self._walk(path, make=False)
            if os.fstat(found).st_dev != os.fstat(mount).st_dev:
                raise Unfit(f"{path!r} was renamed")
            for fd in (mount, folder, found):
                os.close(fd)
        os.chdir("/")

    def changed(self) -> str:
        """Return the name of a folder on the way to one of these that was renamed or removed, empty when none was."""
        while events := watched_events(self.watch):
            for number, name, lost in events:
                if lost or (number, name) in self._guarded:
                    return name or "/"
        return ""

    def _walk(self, path: str, *, make: bool) -> int:
        """Return a descriptor of a folder; `make` what is missing on the way, and watch it.

        A symlink is refused: others could let it lead elsewhere, or into this process's descriptors.
        """
        here = os.open("/", _FOLDER)
        try:
            *above, last = [name for name in path.split("/") if name]
            for name in (*above, last):
                if make:
                    _make(name, here, replace=name is last)
                    os.fchdir(here)
                    self._guarded.add((watch_names(self.watch, b"."), name))
                here, before = os.open(name, _FOLDER, dir_fd=here), here
                os.close(before)
        except OSError as error:
            raise Unfit(f"{path!r} cannot be a folder of the command's own: {error.strerror}") from error
        return here


def _make(name: str, parent: int, *, replace: bool) -> None:
    """Make a folder unless it is there; what is there instead is removed if it is to be replaced."""
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        if replace and os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode & 0o170000 != 0o040000:
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o755, dir_fd=parent)

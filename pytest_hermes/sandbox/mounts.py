"""The mounts that make up the file system of a sandbox in bubblewrap, and bubblewrap's arguments for them."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Mount:
    """What is at `target` in a sandbox.

    `read-only` and `writable`: what is at the host's `source`. `link`: a symlink whose text is `source`. `folder`: an
    empty folder. `hidden`: something empty in place of what another mount shows there.
    """

    kind: Literal["read-only", "writable", "link", "folder", "hidden"]
    target: str
    source: str = ""

    def arguments(self) -> list[str]:
        """Return bubblewrap's arguments for it."""
        match self.kind:
            case "read-only":
                # What has been removed since it was looked for keeps no sandbox from its start.
                return ["--ro-bind-try", self.source, self.target]
            case "writable":
                return ["--bind", self.source, self.target]
            case "link":
                return ["--symlink", self.source, self.target]
            case "folder":
                return ["--dir", self.target]
            case "hidden":
                if os.path.isdir(self.source):
                    return ["--tmpfs", self.target]
                return ["--ro-bind", os.devnull, self.target]


def read_only(path: str) -> Mount:
    """The host's `path`, at the same place."""
    return Mount("read-only", path, path)


class FileSystem:
    """The mounts of one file system, the deeper one deciding wherever two overlap.

    The root is an empty folder. Of two mounts at one place, the one that was added last counts.
    """

    def __init__(self) -> None:
        self._mounts: dict[str, Mount] = {}

    def copy(self) -> FileSystem:
        """Return one with the same mounts."""
        copy = FileSystem()
        copy._mounts.update(self._mounts)
        return copy

    def add(self, *mounts: Mount) -> None:
        """Add mounts, whose targets are absolute and normalised."""
        for mount in mounts:
            self._mounts[mount.target] = mount

    def hide(self, paths: Iterable[str]) -> None:
        """Hide these real paths of the host wherever a mount that was added before shows them."""
        for path in paths:
            for mount in self._showing(path):
                target = posixpath.normpath(posixpath.join(mount.target, posixpath.relpath(path, mount.source)))
                there = self._mounts.get(target)
                if there is None or there.kind == "folder" or there.source == path:
                    self._mounts[target] = Mount("hidden", target, path)

    def sources(self) -> list[str]:
        """Return what of the host the mounts show, whether or not one lies in another."""
        return [mount.source for mount in self._mounts.values() if mount.kind in ("read-only", "writable")]

    def _showing(self, path: str) -> list[Mount]:
        mounts = self._mounts.values()
        return [mount for mount in mounts if mount.kind in ("read-only", "writable") and within(path, mount.source)]

    def shown(self) -> list[Mount]:
        """Return the mounts that are needed, each one after those around it."""
        needed: dict[str, Mount] = {}
        for mount in sorted(self._mounts.values(), key=lambda mount: (mount.target.count("/"), mount.target)):
            around = next((needed[folder] for folder in _folders_of(mount.target) if folder in needed), None)
            if mount.kind == "hidden" and around is None:
                continue
            if around is not None and around.kind in ("read-only", "writable"):
                if mount.kind in ("link", "folder"):
                    continue  # it is there, or cannot be made
                path = posixpath.join(around.source, posixpath.relpath(mount.target, around.target))
                if mount.kind == around.kind and mount.source == path:
                    continue
            needed[mount.target] = mount
        return list(needed.values())

    def arguments(self) -> list[str]:
        """Return bubblewrap's arguments for all of them."""
        return [argument for mount in self.shown() for argument in mount.arguments()]


def within(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies in it."""
    return path == folder or path.startswith(folder if folder.endswith("/") else folder + "/")


def _folders_of(path: str) -> Iterable[str]:
    while path != "/":
        path = posixpath.dirname(path)
        yield path

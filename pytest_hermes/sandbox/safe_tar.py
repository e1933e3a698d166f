"""Unpacking tar streams that nobody vouches for.

Every step goes through descriptors of folders that are opened without following symlinks, so nothing is written
outside the target whatever the stream says and whatever lies in the target already.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from . import tar_reader
from .tar_reader import Member, TarError, TarReader

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_NEVER_MADE = {
    tar_reader.FIFO: "a fifo",
    tar_reader.CHARACTER_DEVICE: "a character device",
    tar_reader.BLOCK_DEVICE: "a block device",
}
#: Names that this file system does not take.
_BAD_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


class _LeftOut(Exception):
    """The member is not made; the text says why."""


def extract_tree(stream: BinaryIO, target: Path, *, max_bytes: int, any_links: bool = False) -> list[str]:
    """Unpack `stream` into the folder `target`, without the first component of its members' names.

    Makes regular files, folders, symlinks that stay inside, and hard links among these files; with `any_links` all
    symlinks, for who reads the folder without following them. Nothing is written through one. Returns a line for each
    member that was left out. Raises OSError when `target` cannot be written or the files have more than `max_bytes`
    together.
    """
    target.mkdir(parents=True, exist_ok=True)
    top = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _Extraction(top, max_bytes, any_links).run(stream)
    finally:
        os.close(top)


def extract_file(stream: BinaryIO, target: Path, *, max_bytes: int) -> str | None:
    """Unpack the one regular file in `stream` to the path `target`; what is there is replaced.

    Returns None, or where the symlink leads that is in the stream instead; then nothing is written. Raises OSError
    when it is something else, or has more than `max_bytes`.
    """
    reader = TarReader(stream)
    try:
        member = reader.next()
        if member is not None and member.type == tar_reader.SYMLINK:
            return member.link
        if member is None or member.type != tar_reader.REGULAR or member.sparse:
            raise OSError("it is not a regular file")
        if member.size > max_bytes:
            raise OSError(f"it has {member.size} bytes, more than {max_bytes}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        with os.fdopen(os.open(target, _CREATE, 0o600), "wb") as file:
            reader.copy(member, file)
            os.fchmod(file.fileno(), member.mode & 0o777)
    except TarError as error:
        raise OSError(f"the sandbox sent something that is not a tar stream: {error}") from error
    return None


class _Extraction:
    def __init__(self, top: int, max_bytes: int, any_links: bool) -> None:
        self._top = top
        self._any_links = any_links
        self._left = max_bytes
        self._left_out: list[str] = []
        #: Names of the files made so far: what a hard link may point to.
        self._files: set[tuple[str, ...]] = set()
        self._modes: dict[tuple[str, ...], int] = {}

    def run(self, stream: BinaryIO) -> list[str]:
        reader = TarReader(stream)
        try:
            while (member := reader.next()) is not None:
                try:
                    self._extract(reader, member)
                except _LeftOut as reason:
                    self._leave_out(member, str(reason))
                except OSError as error:
                    if error.errno not in _BAD_NAME:
                        raise
                    self._leave_out(member, os.strerror(error.errno or 0))
        except TarError as error:
            self._left_out.append(f"the rest: the stream is damaged: {error}")
        # Last, and innermost first: a folder that must not be written to has its contents by now.
        for name in sorted(self._modes, key=len, reverse=True):
            with self._folder(name) as fd:
                os.fchmod(fd, self._modes[name] & 0o777 | 0o700)
        return self._left_out

    def _leave_out(self, member: Member, reason: str) -> None:
        self._left_out.append(f"{member.name.rstrip('/')!r}: {reason}")

    def _extract(self, reader: TarReader, member: Member) -> None:
        name = _below_top(member.name)
        if member.type == tar_reader.FOLDER:
            with self._folder(name, make=True):
                self._modes[name] = member.mode
            return
        if member.type in _NEVER_MADE:
            raise _LeftOut(f"it is {_NEVER_MADE[member.type]}")
        if not name:
            raise _LeftOut("it would replace the folder itself")
        with self._folder(name[:-1], make=True) as parent:
            if member.type == tar_reader.SYMLINK:
                if not self._any_links:
                    _check_link(member.link, depth=len(name) - 1)
                self._clear(parent, name)
                os.symlink(member.link, name[-1], dir_fd=parent)
            elif member.type == tar_reader.HARD_LINK:
                self._link(_below_top(member.link), parent, name)
            elif member.type == tar_reader.REGULAR and not member.sparse:
                self._write(reader, member, parent, name)
            else:
                raise _LeftOut(f"it is of the unknown type {member.type!r}")

    def _write(self, reader: TarReader, member: Member, parent: int, name: tuple[str, ...]) -> None:
        self._left -= member.size
        if self._left < 0:
            raise OSError("the files have more bytes together than they may")
        self._clear(parent, name)
        with os.fdopen(os.open(name[-1], _CREATE, 0o600, dir_fd=parent), "wb", 0) as file:
            reader.copy(member, file)
            os.fchmod(file.fileno(), member.mode & 0o777)
        self._files.add(name)

    def _link(self, existing: tuple[str, ...], parent: int, name: tuple[str, ...]) -> None:
        if existing not in self._files:
            raise _LeftOut("it is a hard link to something that was not made")
        if existing == name:
            return
        with self._folder(existing[:-1]) as folder:
            self._clear(parent, name)
            os.link(existing[-1], name[-1], src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False)
        self._files.add(name)

    def _clear(self, parent: int, name: tuple[str, ...]) -> None:
        """Make way for something new."""
        self._files.discard(name)
        try:
            status = os.stat(name[-1], dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(status.st_mode):
            raise _LeftOut("there is a folder of that name")
        os.unlink(name[-1], dir_fd=parent)

    @contextlib.contextmanager
    def _folder(self, name: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
        """Open a folder below the target, step by step."""
        fd = os.dup(self._top)
        try:
            for part in name:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=fd)
                try:
                    inner = os.open(part, _OPEN_FOLDER, dir_fd=fd)
                except OSError as error:
                    if error.errno in (errno.ENOTDIR, errno.ELOOP):
                        raise _LeftOut(f"its path leads through {part!r}, which is not a folder") from None
                    raise
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)


def _below_top(name: str) -> tuple[str, ...]:
    """Split a name and drop its first component, which is the downloaded folder itself, even if that is `.`."""
    if name.startswith("/"):
        raise _LeftOut("its name is absolute")
    if "\0" in name:
        raise _LeftOut("its name holds a NUL")
    parts = [part for part in name.split("/") if part]
    if ".." in parts:
        raise _LeftOut("its name leads outside")
    return tuple(part for part in parts[1:] if part != ".")


def _check_link(link: str, *, depth: int) -> None:
    """Refuse a symlink in a folder `depth` levels below the target unless it stays inside, whatever it crosses.

    `..` is allowed only at its beginning, where it goes up real folders: behind the name of another symlink it
    would go up from wherever that leads.
    """
    if "\0" in link:
        raise _LeftOut("where it leads holds a NUL")
    if link.startswith("/"):
        raise _LeftOut(f"it is a symlink to the absolute path {link!r}")
    parts = [part for part in link.split("/") if part not in ("", ".")]
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    if ups > depth or ".." in parts[ups:] or not link:
        raise _LeftOut(f"it is a symlink to {link!r}, which may lead outside")

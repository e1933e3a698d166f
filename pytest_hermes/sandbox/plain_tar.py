"""Archives from a sandbox, written anew before anything else unpacks them.

A program that an agent controls can send an archive that two readers understand in different ways: a checker sees one
harmless file, and the tar that unpacks it, as root, writes another. So nothing of such an archive is passed on. One
strict reader reads it, and what it has read is written as an archive of the plainest kind.
"""

from __future__ import annotations

import tarfile
import tempfile
from typing import BinaryIO

from . import tar_reader
from .tar_reader import Member, TarError, TarReader

_TYPES = {
    tar_reader.REGULAR: tarfile.REGTYPE,
    tar_reader.FOLDER: tarfile.DIRTYPE,
    tar_reader.SYMLINK: tarfile.SYMTYPE,
    tar_reader.HARD_LINK: tarfile.LNKTYPE,
    tar_reader.FIFO: tarfile.FIFOTYPE,
}
#: No work of an agent's is in them.
_LEFT_OUT = (tar_reader.CHARACTER_DEVICE, tar_reader.BLOCK_DEVICE)

#: Seconds that the header of a plain archive can hold.
_LATEST = 8**11 - 1
#: Bytes of a file that are kept in memory.
_IN_MEMORY = 1 << 20

_Path = tuple[str, ...]


class UnsafeTar(Exception):
    """An archive holds what no honest tar writes; the text says what."""


def rewrite_tar(source: BinaryIO, target: BinaryIO, *, top: str) -> None:
    """Write to `target` a plain archive of what is in `source`: the file or folder `top`, and what is below it.

    Names, contents, modes, owners (by number), times and links stay; devices are left out, and further attributes.
    Symlinks may lead anywhere, but nothing may lie behind one. Raises UnsafeTar for an archive that is damaged or has
    sparse files, unknown types, members outside of `top`, a name twice, or hard links to anything but its own files.
    """
    with tarfile.open(
        fileobj=target, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        try:
            _Rewriting(TarReader(source), archive, top).run()
        except TarError as error:
            raise UnsafeTar(f"{top!r} came as something that is not an archive: {error}") from error


class _Rewriting:
    def __init__(self, reader: TarReader, archive: tarfile.TarFile, top: str) -> None:
        self._reader = reader
        self._archive = archive
        self._top = top
        #: What has been written, by path: its type.
        self._written: dict[_Path, bytes] = {}

    def run(self) -> None:
        while (member := self._reader.next()) is not None:
            path = self._path(member.name)
            if member.type in _LEFT_OUT:
                continue
            if member.type not in _TYPES or member.sparse:
                raise UnsafeTar(f"{member.name!r} has holes, or is of an unknown type")
            if path in self._written and not self._written[path] == member.type == tar_reader.FOLDER:
                raise UnsafeTar(f"{member.name!r} is there twice")
            for length in range(1, len(path)):
                # Folders need no member of their own.
                if self._written.setdefault(path[:length], tar_reader.FOLDER) != tar_reader.FOLDER:
                    raise UnsafeTar(f"{member.name!r} lies behind something that is not a folder")
            self._write(member, path)
            self._written[path] = member.type

    def _write(self, member: Member, path: _Path) -> None:
        info = tarfile.TarInfo("/".join(path))
        info.type, info.mode = _TYPES[member.type], member.mode
        info.uid, info.gid, info.mtime = member.uid, member.gid, min(member.mtime, _LATEST)
        if member.type == tar_reader.SYMLINK:
            if not member.link or "\0" in member.link:
                raise UnsafeTar(f"{member.name!r} is a symlink to {member.link!r}")
            info.linkname = member.link
        elif member.type == tar_reader.HARD_LINK:
            existing = self._path(member.link)
            if self._written.get(existing) not in (tar_reader.REGULAR, tar_reader.HARD_LINK):
                raise UnsafeTar(f"{member.name!r} is a hard link to {member.link!r}, which is not a file before it")
            info.linkname = "/".join(existing)
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as content:
            if member.type == tar_reader.REGULAR:
                self._reader.copy(member, content)
                info.size = member.size
                content.seek(0)
            self._archive.addfile(info, content)

    def _path(self, name: str) -> _Path:
        """Return the parts of a name. Raises UnsafeTar unless it is `top` or below, whatever unpacks it."""
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if name.startswith("/") or "\0" in name or ".." in parts or parts[:1] != (self._top,):
            raise UnsafeTar(f"{name!r} came as a part of {self._top!r}")
        return parts

"""Files between the host and any sandbox.

All of them travel as tar streams by way of a nameless temporary file; packing and unpacking happen in threads.
"""

from __future__ import annotations

import asyncio
import io
import os
import posixpath
import tarfile
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from .protocol import Sandbox
from .safe_tar import extract_file, extract_tree

#: Bytes that a download may have unless it is told otherwise: a sandbox must not fill the host's disk.
DEFAULT_MAX_BYTES = 4 << 30

_MAX_LINKS = 16


async def upload_file(sandbox: Sandbox, local: str | os.PathLike[str], remote: str) -> None:
    """Copy the file `local` to the path `remote` in the sandbox; folders on the way are made.

    A symlink is followed. Raises OSError when `local` cannot be read or `remote` not be written.
    """
    folder, name = posixpath.split(remote)
    if name in ("", ".", ".."):
        raise IsADirectoryError(f"{remote!r} does not name a file")

    def pack(archive: tarfile.TarFile) -> None:
        with open(local, "rb") as file:
            member = archive.gettarinfo(arcname="file", fileobj=file)
            # Set as it is: `arcname` would lose what looks like the root of an absolute path.
            member.name = name
            if not member.isreg():
                member.type, member.linkname = tarfile.REGTYPE, ""
                member.size = os.fstat(file.fileno()).st_size
            archive.addfile(_anonymous(member), file)

    await _upload(sandbox, pack, folder or ".")


async def upload_dir(sandbox: Sandbox, local: str | os.PathLike[str], remote: str) -> None:
    """Copy what is in the folder `local` into the folder `remote` in the sandbox, which is made if it is missing.

    Symlinks are copied as they are. Raises OSError when something cannot be read or written.
    """

    await _upload(sandbox, partial(_pack_dir, local), remote)


def write_tar(
    local: str | os.PathLike[str], stream: BinaryIO, *, executable: str | None = None, content: bytes | None = None
) -> None:
    """Write a tar of what is in the folder `local` to `stream`; names begin with `./`, nobody owns the files.

    Everybody may read them, and execute the file `executable`, whatever their modes are. With `content`, that is what
    this file holds there. Raises OSError when something cannot be read.
    """

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if content is not None and member.name == f"./{executable}":
            return None
        member.mode |= 0o555 if member.isdir() or member.name == f"./{executable}" else 0o444
        return _anonymous(member)

    def pack(archive: tarfile.TarFile) -> None:
        _pack_dir(local, archive, anonymous)
        if content is not None:
            member = tarfile.TarInfo(f"./{executable}")
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))

    _write(stream, pack)


def _pack_dir(
    local: str | os.PathLike[str],
    archive: tarfile.TarFile,
    adapt: Callable[[tarfile.TarInfo], tarfile.TarInfo | None] | None = None,
) -> None:
    for name in sorted(os.listdir(local)):
        archive.add(os.path.join(local, name), arcname=f"./{name}", filter=adapt or _anonymous)


async def download_file(
    sandbox: Sandbox, remote: str, local: str | os.PathLike[str], *, max_bytes: int = DEFAULT_MAX_BYTES
) -> None:
    """Copy the file `remote` of the sandbox to the path `local`; what is there is replaced.

    A symlink in the sandbox is followed there. Raises FileNotFoundError when there is no `remote`, and OSError when
    it is no regular file, has more than `max_bytes`, or `local` cannot be written.
    """
    path = remote
    for _ in range(_MAX_LINKS):
        with tempfile.TemporaryFile(prefix="hermes-") as file:
            stream = cast(BinaryIO, file)
            await _download(sandbox, path, stream, max_bytes)
            try:
                link = await asyncio.to_thread(extract_file, stream, Path(local), max_bytes=max_bytes)
            except OSError as error:
                raise OSError(f"{remote!r} cannot be copied from the sandbox: {error}") from error
        if link is None:
            return
        path = posixpath.join(posixpath.dirname(path), link)
    raise OSError(f"{remote!r} cannot be copied from the sandbox: too many symlinks")


async def download_dir(
    sandbox: Sandbox, remote: str, local: str | os.PathLike[str], *, max_bytes: int = DEFAULT_MAX_BYTES
) -> list[str]:
    """Copy what is in the folder `remote` of the sandbox into the folder `local`, which is made if it is missing.

    Only files, folders, symlinks that stay inside and hard links among the files are made; returns what was left
    out, a line each with the reason. Raises FileNotFoundError when there is no such folder, and OSError when it has
    more than `max_bytes` or `local` cannot be written.
    """
    with tempfile.TemporaryFile(prefix="hermes-") as file:
        stream = cast(BinaryIO, file)
        try:
            # With the dot, a symlink to a folder is followed, and a file is not taken for one.
            await _download(sandbox, posixpath.join(remote, "."), stream, max_bytes)
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no folder {remote!r} in the sandbox") from None
        return await asyncio.to_thread(extract_tree, stream, Path(local), max_bytes=max_bytes)


async def _upload(sandbox: Sandbox, pack: Callable[[tarfile.TarFile], None], folder: str) -> None:
    with tempfile.TemporaryFile(prefix="hermes-") as file:
        stream = cast(BinaryIO, file)

        await asyncio.to_thread(_write, stream, pack)
        stream.seek(0)
        await sandbox.upload(stream, folder)


def _write(stream: BinaryIO, pack: Callable[[tarfile.TarFile], None]) -> None:
    # GNU's format keeps names that are not UTF-8, which pax headers cannot.
    with tarfile.open(
        fileobj=stream, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        pack(archive)


async def _download(sandbox: Sandbox, remote: str, stream: BinaryIO, max_bytes: int) -> None:
    # Headers and padding come on top of the files.
    await sandbox.download(remote, cast(BinaryIO, BoundedFile(stream, max_bytes + max_bytes // 8 + (1 << 26))))
    stream.seek(0)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


class BoundedFile:
    """Passes on to a file what is written, at most `size` bytes; raises OSError for more."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise OSError("the download is larger than it may be")
        return self._file.write(data)

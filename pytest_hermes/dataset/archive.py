"""Archives that stand in a dataset's columns: base64 of a tar, mostly compressed by gzip.

They are repacked before anybody unpacks them: what cannot be read is found where the row is known, and names are safe.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, BinaryIO, cast

from ..config.cache import cache_folder
from ..sandbox import tar_reader
from ..sandbox.safe_tar import extract_tree
from ..sandbox.tar_reader import Member, TarError, TarReader

#: Bytes that the files of one archive may have together.
MAX_BYTES = 4 << 30

_KEPT = {
    tar_reader.REGULAR: tarfile.REGTYPE,
    tar_reader.FOLDER: tarfile.DIRTYPE,
    tar_reader.SYMLINK: tarfile.SYMTYPE,
    tar_reader.HARD_LINK: tarfile.LNKTYPE,
}
_CHUNK = 1 << 20


class ArchiveError(Exception):
    """It is no archive, or a damaged one; the text says in what way."""


def repack(text: str, target: BinaryIO, *, top: str, files: Mapping[str, bytes] | None = None) -> None:
    """Write the archive in `text` to `target` as a plain tar whose names begin with `./`, and add `files`, executable.

    When everything in it lies in one folder called `top`, that folder is left out. Raises ArchiveError when it cannot
    be read, or holds what is neither file, folder nor link, or leads outside.
    """
    with tempfile.TemporaryFile(prefix="hermes-") as plain:
        _decompress(text, plain)
        stream = cast(BinaryIO, plain)
        names = [name for member in _members(stream) if (name := _inside(member.name))]
        under = bool(names) and all(name[0] == top for name in names) and any(len(name) > 1 for name in names)
        with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
            _copy(stream, archive, skip=int(under), replaced=files or {})
            for path, content in (files or {}).items():
                info = tarfile.TarInfo(f"./{path}")
                info.size, info.mode = len(content), 0o755
                archive.addfile(info, io.BytesIO(content))


def unpacked(text: str, *, top: str, name: str) -> Path:
    """Return a folder with the content of the archive in `text`, from the cache if it was unpacked before.

    `name` is part of the folder's, for people. Its symlinks are for an image's file system: they may lead anywhere, and
    nobody may follow them here. Raises what `repack` raises, and OSError.
    """
    folder = cache_folder("environments")
    target = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)[:60]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if target.is_dir():
        return target
    with tempfile.TemporaryFile(prefix="hermes-") as plain:
        repack(text, cast(BinaryIO, plain), top=top)
        # Somebody else may be at it: whoever is first wins, and it is the same.
        made = Path(tempfile.mkdtemp(dir=folder, prefix="new-"))
        try:
            left_out = extract_tree(cast(BinaryIO, plain), made, max_bytes=MAX_BYTES, any_links=True)
            if left_out:
                raise ArchiveError(left_out[0])
            made.chmod(0o755)
            os.rename(made, target)
        except OSError:
            shutil.rmtree(made, ignore_errors=True)
            if not target.is_dir():
                raise
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
    return target


def _decompress(text: str, plain: IO[bytes]) -> None:
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ArchiveError(f"it is not base64: {error}") from error
    if not data.startswith(b"\x1f\x8b"):
        plain.write(data)
        return
    written = 0
    try:
        with gzip.open(io.BytesIO(data)) as stream:
            while chunk := stream.read(_CHUNK):
                written += len(chunk)
                if written > MAX_BYTES:
                    raise ArchiveError(f"it has more than {MAX_BYTES} bytes")
                plain.write(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise ArchiveError(f"its gzip stream is damaged: {error}") from error


def _members(stream: BinaryIO) -> list[Member]:
    members = []
    reader = TarReader(stream)
    try:
        while (member := reader.next()) is not None:
            members.append(member)
    except TarError as error:
        raise ArchiveError(f"its tar stream is damaged: {error}") from error
    return members


def _inside(name: str) -> tuple[str, ...]:
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise ArchiveError(f"{name!r} leads outside")
    return parts


def _copy(stream: BinaryIO, archive: tarfile.TarFile, *, skip: int, replaced: Mapping[str, bytes]) -> None:
    reader = TarReader(stream)
    while (member := reader.next()) is not None:
        name = "/".join(_inside(member.name)[skip:])
        if not name or name in replaced:
            continue
        if member.type not in _KEPT or member.sparse:
            raise ArchiveError(f"{member.name!r} is neither a file nor a folder nor a link")
        info = tarfile.TarInfo(f"./{name}")
        info.type, info.mode = _KEPT[member.type], member.mode
        if member.type == tar_reader.SYMLINK:
            info.linkname = member.link
        elif member.type == tar_reader.HARD_LINK:
            info.linkname = "./" + "/".join(_inside(member.link)[skip:])
        with tempfile.SpooledTemporaryFile(max_size=_CHUNK) as content:
            if member.type == tar_reader.REGULAR:
                reader.copy(member, content)
                info.size = member.size
                content.seek(0)
            archive.addfile(info, content)

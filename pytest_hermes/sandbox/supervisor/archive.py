"""A tar of a file or folder, written without a program of the sandbox's."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

#: Exit code for a path that does not exist, as of scripts/pack.sh.
NO_SUCH_PATH = 44


def pack(path: str, stream: BinaryIO, largest: int) -> int:
    """Write a tar of `path`, whose members' names begin with its base name, and return an exit code.

    Sockets and devices are left out. Raises OSError when not all of it can be read, and ValueError before the files
    have more than `largest` bytes, those of holes included.
    """
    import tarfile  # takes as long as starting the interpreter, and is seldom needed

    types = {
        stat.S_IFREG: tarfile.REGTYPE,
        stat.S_IFDIR: tarfile.DIRTYPE,
        stat.S_IFLNK: tarfile.SYMTYPE,
        stat.S_IFIFO: tarfile.FIFOTYPE,
    }
    top = os.path.basename(os.path.normpath(path)) or "."
    if not os.path.lexists(path):
        return NO_SUCH_PATH
    #: The names of files with several, by what they are.
    links: dict[tuple[int, int], str] = {}
    with tarfile.open(
        fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        ahead = [(path, top)]
        while ahead:
            place, name = ahead.pop()
            status = os.lstat(place)
            kind = types.get(stat.S_IFMT(status.st_mode))
            if kind is None:
                continue
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, stat.S_IMODE(status.st_mode)
            info.uid, info.gid, info.mtime = status.st_uid, status.st_gid, int(status.st_mtime)
            if kind == tarfile.SYMTYPE:
                info.linkname = os.readlink(place)
            elif kind == tarfile.DIRTYPE:
                ahead += [(f"{place}/{inner}", f"{name}/{inner}") for inner in sorted(os.listdir(place), reverse=True)]
            elif kind == tarfile.REGTYPE:
                first = links.setdefault((status.st_dev, status.st_ino), name)
                if status.st_nlink > 1 and first != name:
                    info.type, info.linkname = tarfile.LNKTYPE, first
                else:
                    info.size = status.st_size
                    largest -= info.size
            if largest < 0:
                raise ValueError("there is more than can be copied")
            if info.type != tarfile.REGTYPE:
                tar.addfile(info)
                continue
            with open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                tar.addfile(info, file)
    return 0

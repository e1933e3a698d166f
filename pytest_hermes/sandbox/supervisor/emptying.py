"""Removes what is in a sandbox's folder."""

from __future__ import annotations

import errno
import os


def empty(folder: str) -> None:
    """Remove what is in `folder`, however deep or unreadable; symlinks are removed, never followed.

    What cannot be removed (immutable files) stays. No process may be at work in the folder.
    Raises OSError when `folder` itself is not a folder that can be opened.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    if not os.path.islink(folder):
        os.chmod(folder, 0o700)
    top = os.open(folder, flags)
    serial = 0
    try:
        while True:
            removed = 0
            for name in os.listdir(top):
                try:
                    if not _is_folder(top, name):
                        os.unlink(name, dir_fd=top)
                        removed += 1
                        continue
                    # Folders in it are moved up to the top instead of descended into: depth then costs no
                    # descriptors and no recursion.
                    os.chmod(name, 0o700, dir_fd=top)
                    inner = os.open(name, flags, dir_fd=top)
                except OSError:
                    continue
                try:
                    for child in os.listdir(inner):
                        try:
                            if _is_folder(inner, child):
                                os.chmod(child, 0o700, dir_fd=inner)
                                serial = _move_up(inner, child, top, serial)
                            else:
                                os.unlink(child, dir_fd=inner)
                            removed += 1
                        except OSError:
                            continue
                    os.rmdir(name, dir_fd=top)
                    removed += 1
                except OSError:
                    continue
                finally:
                    os.close(inner)
            if not removed:
                return
    finally:
        os.close(top)


def _is_folder(parent: int, name: str) -> bool:
    return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode & 0o170000 == 0o040000


def _move_up(parent: int, name: str, top: int, serial: int) -> int:
    while True:
        serial += 1
        try:
            os.rename(name, f".hermes-{serial}", src_dir_fd=parent, dst_dir_fd=top)
            return serial
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise

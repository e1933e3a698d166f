"""Calls of the system that Python has no function for. The numbers are the same on all architectures."""

from __future__ import annotations

import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432

_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_FSCONFIG_CMD_CREATE = 6

CLONE_NEWNS = 0x20000
MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 2, 4, 0x4000, 1 << 18
MNT_DETACH = 2


def prctl(option: int, argument: int | bytes = 0, more: int = 0) -> int:
    """Return what prctl(2) does, -1 for an error."""
    first = ctypes.c_ulong(argument) if isinstance(argument, int) else argument
    return int(_LIBC.prctl(option, first, ctypes.c_ulong(more), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def unshare(flags: int) -> None:
    """See unshare(2). Raises OSError, as all of these do."""
    _check(_LIBC.unshare(flags))


def mount(kind: bytes | None, target: bytes, flags: int, data: bytes | None = None) -> None:
    """Mount a file system of some kind, or change the mount at `target`."""
    _check(_LIBC.mount(kind, target, kind, ctypes.c_ulong(flags), data))


def unmount(target: bytes) -> None:
    """Unmount what is at `target`; whatever uses it goes on."""
    _check(_LIBC.umount2(target, MNT_DETACH))


def pivot_root(new: bytes, old: bytes) -> None:
    """See pivot_root(2)."""
    _check(_LIBC.pivot_root(new, old))


def clone_mount(fd: int) -> int:
    """Return a descriptor of a copy of the mounts at and below what is open as `fd`."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | _AT_RECURSIVE
    return _check(_LIBC.syscall(_OPEN_TREE, fd, b"", ctypes.c_uint(flags)))


def move_mount(fd: int, folder: int, name: bytes) -> None:
    """Attach what `clone_mount` returned at `name` in the folder that is open as `folder`."""
    _check(_LIBC.syscall(_MOVE_MOUNT, fd, b"", folder, name, ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH)))


def new_proc() -> int:
    """Return a descriptor of a /proc that is mounted nowhere."""
    context = _check(_LIBC.syscall(_FSOPEN, b"proc", ctypes.c_uint(1)))
    try:
        _check(_LIBC.syscall(_FSCONFIG, context, ctypes.c_uint(_FSCONFIG_CMD_CREATE), None, None, 0))
        return _check(_LIBC.syscall(_FSMOUNT, context, ctypes.c_uint(1), ctypes.c_uint(0)))
    finally:
        os.close(context)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


#: Effective, permitted and inheritable, twice: the lower and the higher 32 bits.
_Sets = ctypes.c_uint32 * 6
_VERSION_3 = 0x20080522


def permitted() -> int:
    """Return this process's permitted capabilities as a mask."""
    sets = _capget()
    return int(sets[1]) | int(sets[4]) << 32


def set_inheritable(mask: int) -> None:
    """Replace this process's inheritable capabilities."""
    sets = _capget()
    sets[2], sets[5] = mask & 0xFFFFFFFF, mask >> 32
    _check(_LIBC.capset(ctypes.byref(_Header(_VERSION_3, 0)), sets))


def _capget() -> ctypes.Array[ctypes.c_uint32]:
    sets = _Sets()
    _check(_LIBC.capget(ctypes.byref(_Header(_VERSION_3, 0)), sets))
    return sets


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)

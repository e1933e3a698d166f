"""System calls that Python 3.11 does not offer. Each raises OSError. Sources: the manual pages of their names.

Runs in a bare interpreter; see monitor.py.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

#: `prctl` options.
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_NAME = 1, 8, 15
_PR_SET_SECCOMP, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 22, 23, 24, 38, 47
_SECCOMP_MODE_FILTER, _AMBIENT_RAISE = 2, 2
_CAPABILITY_VERSION = 0x20080522

_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18

# The same numbers on every architecture, but for `keyctl`: include/uapi/asm-generic/unistd.h of the kernel.
_MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 429, 430, 431, 432
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219}
_CLOEXEC = 1
_SET_STRING, _CREATE = 1, 6
_MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 2, 4
_EMPTY_PATHS = 0x04 | 0x40
_JOIN_SESSION_KEYRING = 1

#: Events of `inotify`. The last three say that events are lost, or that there will be none any more.
_IN_MOVED_FROM, _IN_MOVED_TO, _IN_DELETE = 0x40, 0x80, 0x200
_IN_UNMOUNT, _IN_Q_OVERFLOW, _IN_IGNORED = 0x2000, 0x4000, 0x8000
_EVENT = "iIII"

_PTRACE_DETACH, _PTRACE_SEIZE, _PTRACE_INTERRUPT, _PTRACE_SECCOMP_GET_FILTER = 17, 0x4206, 0x4207, 0x420C
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = _libc.ptrace.restype = ctypes.c_long


def prctl(option: int, argument: int | bytes) -> int:
    value = ctypes.c_ulong(argument) if isinstance(argument, int) else argument
    return _checked(_libc.prctl(option, value, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def enter_namespace(fd: int) -> None:
    _checked(_libc.setns(fd, 0))


def unshare_mounts() -> None:
    """Enter a new mount namespace that passes nothing on to others, and is passed nothing."""
    _checked(_libc.unshare(_CLONE_NEWNS))
    _checked(_libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))


def new_tmpfs(**options: str) -> int:
    """Return a descriptor of a new file system in memory, not mounted anywhere yet."""
    context = _syscall(_FSOPEN, b"tmpfs", _CLOEXEC)
    try:
        for key, value in options.items():
            _syscall(_FSCONFIG, context, _SET_STRING, key.encode(), value.encode(), 0)
        _syscall(_FSCONFIG, context, _CREATE, None, None, 0)
        return _syscall(_FSMOUNT, context, _CLOEXEC, _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV)
    finally:
        os.close(context)


def move_mount(mount: int, folder: int) -> None:
    """Mount what `mount` is a descriptor of on the folder of another."""
    _syscall(_MOVE_MOUNT, mount, b"", folder, b"", _EMPTY_PATHS)


def new_watch() -> int:
    """Return a descriptor that tells of names in folders that are renamed, replaced or removed."""
    return _checked(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))


def watch_names(watch: int, folder: bytes) -> int:
    """Let a watch tell of the names in a folder, too; return the folder's number in what it tells."""
    return _checked(_libc.inotify_add_watch(watch, folder, _IN_MOVED_FROM | _IN_MOVED_TO | _IN_DELETE))


def watched_events(watch: int) -> list[tuple[int, str, bool]]:
    """Return what a watch has to tell: the folder's number, the name, and whether events are lost."""
    try:
        data = os.read(watch, 1 << 16)
    except BlockingIOError:
        return []
    events = []
    while data:
        number, mask, _, size = struct.unpack_from(_EVENT, data)
        end = struct.calcsize(_EVENT) + size
        name = os.fsdecode(data[end - size : end].rstrip(b"\0"))
        events.append((number, name, bool(mask & (_IN_UNMOUNT | _IN_Q_OVERFLOW | _IN_IGNORED))))
        data = data[end:]
    return events


def new_session_keyring() -> None:
    """Leave the keys of the session that this process was started in, where there are any."""
    number = _KEYCTL.get(os.uname().machine)
    if number is not None:
        try:
            _syscall(number, _JOIN_SESSION_KEYRING, None)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise


def drop_from_bounding_set(kept: int) -> None:
    """Let nothing that is executed gain a capability that is not in the mask `kept`."""
    for capability in range(64):
        if not kept >> capability & 1:
            try:
                if prctl(_PR_CAPBSET_READ, capability):
                    prctl(_PR_CAPBSET_DROP, capability)
            except OSError:  # the kernel has no more
                return


def set_capabilities(own: int, inheritable: int) -> None:
    """Let this process have the capabilities of the mask `own`, and pass on those of `inheritable`."""
    data = [mask >> shift & 0xFFFFFFFF for shift in (0, 32) for mask in (own, own, inheritable)]
    _checked(_libc.capset(struct.pack("Ii", _CAPABILITY_VERSION, 0), struct.pack("6I", *data)))


def raise_ambient(capability: int) -> None:
    """Pass a capability on to what this process executes, whoever it runs as."""
    values = [ctypes.c_ulong(value) for value in (_AMBIENT_RAISE, capability, 0, 0)]
    _checked(_libc.prctl(_PR_CAP_AMBIENT, *values))


def add_seccomp_filter(code: bytes) -> None:
    """`code` is a program of the classic BPF: instructions of 8 bytes each."""
    program = ctypes.create_string_buffer(code, len(code))
    head = ctypes.create_string_buffer(struct.pack("HP", len(code) // 8, ctypes.addressof(program)))
    values = [ctypes.c_ulong(value) for value in (_SECCOMP_MODE_FILTER, ctypes.addressof(head), 0, 0)]
    _checked(_libc.prctl(_PR_SET_SECCOMP, *values))


def seccomp_filters(pid: int) -> list[bytes]:
    """Return the seccomp filters of another process, the oldest first. It is stopped for a moment."""
    _ptrace(_PTRACE_SEIZE, pid, 0)
    try:
        _ptrace(_PTRACE_INTERRUPT, pid, 0)
        os.waitpid(pid, _WALL)
        filters: list[bytes] = []
        while True:
            try:
                size = 8 * _ptrace(_PTRACE_SECCOMP_GET_FILTER, pid, len(filters))
            except FileNotFoundError:
                return filters[::-1]
            code = ctypes.create_string_buffer(size)
            _ptrace(_PTRACE_SECCOMP_GET_FILTER, pid, len(filters), ctypes.addressof(code))
            filters.append(code.raw)
    finally:
        _ptrace(_PTRACE_DETACH, pid, 0)


def _ptrace(request: int, pid: int, address: int, data: int = 0) -> int:
    values = [ctypes.c_ulong(value) for value in (request, pid, address, data)]
    return _checked(_libc.ptrace(*values))


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    values = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *values))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)

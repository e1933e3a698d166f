"""What these processes may do and what their commands may not do to them."""

from __future__ import annotations

import ctypes
import errno
import os

from .system import new_proc, permitted, prctl, set_inheritable

#: `prctl` options.
_SET_PDEATHSIG = 1
_SET_DUMPABLE = 4
_SET_NAME = 15
_CAPBSET_READ, _CAPBSET_DROP = 23, 24
_SET_CHILD_SUBREAPER = 36
_CAP_AMBIENT, _CAP_AMBIENT_RAISE, _CAP_AMBIENT_CLEAR_ALL = 47, 2, 4

_CAP_SETPCAP = 8
_CAP_SYS_PTRACE = 19
_CAP_SYS_ADMIN = 21
_CAP_WAKE_ALARM = 35
#: With either of the other two, CAP_SYS_ADMIN and CAP_PERFMON, newer kernels let a process read what it could only
#: read as a debugger before (mm_access in the kernel's fork.c).
_LOOK_INTO_OTHERS = (_CAP_SYS_PTRACE, _CAP_SYS_ADMIN, 38)

#: What an isolated supervisor has and its commands do not. The second one, which is harmless, private commands have
#: too: what lacks it can neither trace them nor look into /proc/PID/root or /proc/PID/fd of theirs.
_HELD_BACK = (_CAP_SYS_ADMIN, _CAP_WAKE_ALARM)

_NAME = b"hermes-sandbox"
#: The kernel gives none of the lowest process ids a second time, and knows no lower limit than this.
_RESERVED_IDS, _LOWEST_MAXIMUM = 300, 301
#: From these versions on, the greatest process id is that of a process namespace, where it was that of the machine
#: before, and the processes of a user namespace are counted by themselves.
_IDS_BY_NAMESPACE, _COUNTED_BY_NAMESPACE = (6, 14), (5, 14)


def hide() -> None:
    """Let no other process trace this one or read its memory and descriptors, its forks included."""
    prctl(_SET_DUMPABLE, 0)


def hear_of_parents_death(number: int) -> None:
    """Get this signal when the parent ends; 0 is none."""
    prctl(_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Be the parent of all descendants whose own has ended."""
    prctl(_SET_CHILD_SUBREAPER, 1)


def show_own_name() -> None:
    """Show a name of our own in the list of processes: `pkill -f python` is not meant for us."""
    prctl(_SET_NAME, _NAME)
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
    except (OSError, IndexError, ValueError):
        return
    if 0 < start < end:
        ctypes.memmove(start, _NAME[: end - start - 1].ljust(end - start, b"\0"), end - start)


def hold_back_capabilities() -> bool:
    """Keep from commands what only this process and its forks need; return whether they have it.

    Each fork calls one of the next two before it starts a program.
    """
    has = permitted()
    prctl(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL)
    complete = all(has >> capability & 1 for capability in _HELD_BACK)
    # What is not inheritable now could not become so any more.
    set_inheritable(1 << _CAP_WAKE_ALARM if complete else 0)
    for capability in _HELD_BACK:
        prctl(_CAPBSET_DROP, capability)
    return complete


def start_ordinary_programs() -> None:
    """Let what this process starts have none of the capabilities that are held back."""
    set_inheritable(0)


def start_private_programs() -> None:
    """Let what this process starts have what keeps other commands from looking into it. Raises OSError."""
    if os.geteuid() and prctl(_CAP_AMBIENT, _CAP_AMBIENT_RAISE, _CAP_WAKE_ALARM) < 0:
        raise PermissionError(errno.EPERM, "a capability cannot be passed on")


def limit_processes(number: int) -> bool:
    """Let the sandbox have at most about so many processes at once, threads included; return whether that works.

    Root's are limited by their ids, which the kernel can do for each process namespace (Linux 6.14). Those of others
    are limited by the number in their user namespace.
    """
    try:
        if os.geteuid() == 0:
            return _kernel() >= _IDS_BY_NAMESPACE and os.getpid() == 1 and _limit_ids(number)
        if _kernel() < _COUNTED_BY_NAMESPACE:
            return False
        import resource

        resource.setrlimit(resource.RLIMIT_NPROC, (number, number))
    except (OSError, ValueError):
        return False
    return True


def _limit_ids(number: int) -> bool:
    # In a /proc of its own: the one that commands see is read-only there.
    proc = new_proc()
    try:
        before = _pid_max(proc)
        wanted = max(number + _RESERVED_IDS, _LOWEST_MAXIMUM)
        if before <= wanted:
            return True
        fd = os.open("sys/kernel/pid_max", os.O_WRONLY, dir_fd=proc)
        try:
            os.write(fd, str(wanted).encode())
        finally:
            os.close(fd)
        return _pid_max(proc) == wanted
    finally:
        os.close(proc)


def _pid_max(proc: int) -> int:
    fd = os.open("sys/kernel/pid_max", os.O_RDONLY, dir_fd=proc)
    try:
        return int(os.read(fd, 100))
    finally:
        os.close(fd)


def _kernel() -> tuple[int, ...]:
    numbers = os.uname().release.split("-")[0].split(".")[:2]
    return tuple(int(number) for number in numbers if number.isdigit())


def forbid_reading_other_processes() -> None:
    """Keep root's commands out of the environment of processes that hold more capabilities, such as pytest.

    A process that was itself started without CAP_SYS_PTRACE holds no more than they do; then they lose
    CAP_SETPCAP too, which they hardly miss.
    """
    before = prctl(_CAPBSET_READ, _CAP_SYS_PTRACE)
    for capability in _LOOK_INTO_OTHERS:
        prctl(_CAPBSET_DROP, capability)
    if before != 1:
        prctl(_CAPBSET_DROP, _CAP_SETPCAP)

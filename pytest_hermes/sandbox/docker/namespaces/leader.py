"""What becomes the command. Runs in a bare interpreter; see monitor.py."""

# ruff: noqa: SIM105 - contextlib would take a millisecond to import

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found, unused-ignore]
import errno
import os
import resource

from .linux import (
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    add_seccomp_filter,
    drop_from_bounding_set,
    enter_namespace,
    new_session_keyring,
    prctl,
    raise_ambient,
    set_capabilities,
)
from .order import Order
from .users import User

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_CANNOT_EXECUTE, _NOT_FOUND = 126, 127


def lead(
    host: int,
    control_groups: list[int],
    cgroup_namespace: list[int],
    order: Order,
    user: User,
    streams: list[int],
    report: int,
) -> NoReturn:
    """Become the command. Tells `report` why it does not get as far as executing it.

    `host` is a descriptor of the machine's /proc, `control_groups` are some of files `cgroup.procs`, and
    `cgroup_namespace` holds one of a namespace that is entered after these groups, if any.
    """
    try:
        for fd in control_groups:
            os.write(fd, b"0")
        for fd in cgroup_namespace:
            enter_namespace(fd)
        _write(host, "self/oom_score_adj", str(order.oom_score_adj))
        if order.profile:
            _set_profile(host, order.profile)
        for number, soft, hard in order.limits:
            resource.setrlimit(number, (soft, hard))
        os.setsid()
        os.umask(0o022)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        new_session_keyring()
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        for name in os.listdir(descriptors := os.open("self/fd", os.O_RDONLY, dir_fd=host)):
            if int(name) not in (0, 1, 2, report, descriptors):
                _close(int(name))
        os.close(descriptors)
        _restrict(order, user)
    except BaseException as error:
        os.write(report, f"{type(error).__name__}: {error}".encode(errors="backslashreplace"))
        os._exit(_CANNOT_EXECUTE)
    _execute(order.argv, order.cwd, {"HOME": user.home, **order.env, "PWD": order.cwd})


def _restrict(order: Order, user: User) -> None:
    """Give up all rights that the container does not give, but for the mark. It is there at every moment."""
    if order.no_new_privileges:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    # Before the capability is gone that it takes. Engines do the same, so the filters let through what follows.
    for code in order.filters:
        add_seccomp_filter(code)
    mark = 1 << order.mark
    drop_from_bounding_set(order.capabilities | mark)
    prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    set_capabilities(mark | (order.capabilities if user.uid == 0 else 0), inheritable=mark)
    raise_ambient(order.mark)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of the user has reset it


def _execute(argv: list[str], cwd: str, env: dict[str, str]) -> NoReturn:
    """Execute the command, or say on stderr why that cannot be, and exit as a shell would."""
    try:
        os.chdir(cwd)
    except OSError:
        _leave(_CANNOT_EXECUTE, f"cannot start in '{cwd}': there is no such folder, or it cannot be entered")
    program, problem = argv[0], None
    folders = [""] if "/" in program else [f"{folder or '.'}/" for folder in env.get("PATH", os.defpath).split(":")]
    for path in [folder + program for folder in folders]:
        try:
            try:
                os.execve(path, argv, env)
            except OSError as error:
                if error.errno != errno.ENOEXEC:
                    raise
                os.execve("/bin/sh", ["/bin/sh", path, *argv[1:]], env)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            problem = problem or error
    if problem is None:
        _leave(_NOT_FOUND, f"{program}: {'' if '/' in program else 'command '}not found")
    if problem.errno == errno.E2BIG:
        _leave(_CANNOT_EXECUTE, "arguments and environment are larger than the system allows")
    _leave(_CANNOT_EXECUTE, f"{program}: {problem.strerror}")


def _leave(code: int, why: str) -> NoReturn:
    os.write(2, f"{why}\n".encode(errors="surrogateescape"))
    os._exit(code)


def _set_profile(host: int, profile: str) -> None:
    """Let an AppArmor profile confine what is executed next."""
    try:
        _write(host, "self/attr/apparmor/exec", f"exec {profile}")
    except FileNotFoundError:  # of older kernels
        _write(host, "self/attr/exec", f"exec {profile}")


def _write(host: int, path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY, dir_fd=host)
    os.write(fd, text.encode())
    os.close(fd)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:  # the descriptor that listed them
        pass

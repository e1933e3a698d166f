"""Runs one command in a container, with folders that no other process of the container can reach.

A bare interpreter executes this module and those it names, with the standard library only, as root of the machine that
the container runs on. It becomes two processes:

    monitor  enters the container's namespaces, but for the PID namespace, where it would be seen. It makes a mount
             namespace of its own, mounts the folders there, and watches over them
    leader   its child in the container's PID namespace and control groups, with the container's rights. It executes
             the command

What keeps others out is one capability more than the container has, the mark. The kernel lets no process trace another
that has a capability which it lacks itself, and a process that may not trace another cannot open that one's
/proc/PID/root, fd, mem or ns either. The leader has the mark from its first moment on, and passes it on to all that it
starts. Only what becomes another user by itself, as `su` does, leaves it behind.

Nothing may be imported once the container's files are in sight: they are an agent's, and this process may do anything.

The engine has a socket, with a message for each event: `B`, the command has begun; `X`, its leader has ended with the
exit code that follows; `T`, a folder with the name that follows was renamed or removed, so that the command may have
seen another in its place; `E` and `F`, it cannot begin, for the reason that follows, which lies with the machine or
with the container's files; `N`, something of it does not end. When the leader ends, or the engine closes the socket,
all processes end that can reach the folders.
"""

# ruff: noqa: SIM105 - contextlib would take a millisecond to import

from __future__ import annotations

# As in supervisor.py: what is above them would cost time.
import _signal as signal  # type: ignore[import-not-found, unused-ignore]
import _socket as socket
import errno
import marshal
import os
import select
import sys

from .folders import Folders, Unfit
from .leader import lead
from .linux import PR_SET_NAME, PR_SET_PDEATHSIG, enter_namespace, prctl, unshare_mounts
from .members import end_all
from .order import Order
from .users import look_up

_SIGNALLED = 128


def main(channel: int, description: int, *streams: int) -> None:
    """Run the command that a marshalled `Order` describes, with `streams` as its standard streams."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prctl(PR_SET_NAME, b"hermes-sandbox")
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # and the leader with it; what is left ends with the container
    with open(description, "rb") as file:
        order = Order(**marshal.load(file))
    engine = socket.socket(fileno=channel)
    try:
        monitor(engine, order, list(streams))
    except Unfit as error:
        _say(engine, f"F{error}")
    except BaseException as error:  # to print it, the interpreter would look for files
        _say(engine, f"E{getattr(error, 'strerror', None) or f'{type(error).__name__}: {error}'}")
    os._exit(0)


def monitor(engine: socket.socket, order: Order, streams: list[int]) -> None:
    """Start the leader, tell the engine what becomes of it, and end what it leaves."""
    host = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)  # the container's shows what is in the container
    control_groups = [os.open(path, os.O_WRONLY) for path in order.control_groups]
    cgroup_namespace = _enter(host, order)
    namespace = os.readlink("self/ns/mnt", dir_fd=host)
    user = look_up(order.user)
    folders = Folders(order.folders, order.folder_size, user.uid, user.gid)
    report, report_end = os.pipe()
    leader = os.fork()
    if leader == 0:
        lead(host, control_groups, cgroup_namespace, order, user, streams, report_end)
    for fd in (report_end, *streams, *control_groups, *cgroup_namespace):
        os.close(fd)
    problem, changed = _watch_over(engine, leader, report, folders)
    if not end_all(host, namespace):
        _say(engine, "N")
        return
    code = os.waitstatus_to_exitcode(os.waitpid(leader, 0)[1])
    if problem:
        _say(engine, f"E{problem}")
    elif changed := changed or folders.changed():  # what has changed by now may have been what the command saw
        _say(engine, f"T{changed}")
    else:
        _say(engine, f"X{code if code >= 0 else _SIGNALLED - code}")


def _enter(host: int, order: Order) -> list[int]:
    """Enter the container's namespaces, and a mount namespace below its own.

    Return a descriptor of its cgroup namespace, where it has one: from inside, older kernels let nobody join a group.
    """
    init = os.open(str(order.init), os.O_RDONLY | os.O_DIRECTORY, dir_fd=host)
    with open(os.open("stat", os.O_RDONLY, dir_fd=init), "rb") as file:
        if file.read().rpartition(b")")[2].split()[19] != order.init_started.encode():
            raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
    namespaces = [os.open(f"ns/{name}", os.O_RDONLY, dir_fd=init) for name in order.namespaces if name != "cgroup"]
    cgroup_namespace = [os.open("ns/cgroup", os.O_RDONLY, dir_fd=init)] if "cgroup" in order.namespaces else []
    sys.meta_path.clear()  # nothing can be imported any more
    for namespace in namespaces:
        enter_namespace(namespace)
    for fd in (init, *namespaces):
        os.close(fd)
    unshare_mounts()
    return cgroup_namespace


def _watch_over(engine: socket.socket, leader: int, report: int, folders: Folders) -> tuple[str, str]:
    """Wait until the leader has ended, or has to; return what kept it from beginning, and the folder that changed."""
    ended = os.pidfd_open(leader)
    poll = select.poll()
    for fd in (engine.fileno(), ended, report, folders.watch):
        poll.register(fd, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if report in ready:
            poll.unregister(report)
            if problem := os.read(report, 4096).decode():
                return problem, ""
            _say(engine, "B")
        if folders.watch in ready and (changed := folders.changed()):
            return "", changed
        if ended in ready or engine.fileno() in ready:
            return "", ""


def _say(engine: socket.socket, text: str) -> None:
    try:
        engine.send(text.encode(errors="backslashreplace"))
    except OSError:  # the engine has gone; the socket's end says so too
        pass

"""The process that runs the commands of one local sandbox.

It is not part of pytest's process: a bare interpreter executes this file, alone, with the standard library only.
The engine sends 5-byte frames (one letter, a 4-byte number) over a socket, and descriptors with them:

    E n   run a command: its description (marshal of argv, env, cwd), stdout, stderr and perhaps stdin are attached
    K n   kill command n and every descendant of it

and is sent 9-byte frames (letter, number, 4-byte status):

    R 0   ready; the status is the supervisor's process id
    X n   the leader of command n has ended, with this exit code
    G n   nothing of command n is left; the exit code counts only if no X came before (its shepherd was killed)

Each command has a shepherd: a fork of this process that adopts whatever the command leaves behind, so that "kill
the command" means "kill all descendants of its shepherd", whatever sessions they made for themselves. A shepherd
that has no descendants left may be given another command: forking one costs as much as starting bash.

At the end of the socket everything is killed and the sandbox's folder emptied.

As a fork server it forks supervisors for sandboxes that are not isolated, one for each frame `F 0` that it is sent: its
socket, the descriptor of its output, and a file with the path of its folder are attached.
"""

# ruff: noqa: SIM105 - contextlib would take a millisecond to import

from __future__ import annotations

# `socket` and `signal` spend two thirds of this interpreter's start on `enum`; the modules below them are enough.
import _signal as signal  # type: ignore[import-not-found, unused-ignore]
import _socket as socket
import ctypes
import errno
import marshal
import os
import select
import sys
import time

FRAME_IN = 5
FRAME_OUT = 9

#: Seconds for which descendants are hunted before they are left to the kernel (a process in an
#: uninterruptible wait cannot be killed).
_PATIENCE = 4.0

_LINUX = sys.platform == "linux"
_NAME = b"hermes-sandbox"

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_CAP_SETPCAP = 8
_CAP_SYS_PTRACE = 19
#: With either of the other two, CAP_SYS_ADMIN and CAP_PERFMON, newer kernels let a process read what it could only
#: read as a debugger before (mm_access in the kernel's fork.c).
_LOOK_INTO_OTHERS = (_CAP_SYS_PTRACE, 21, 38)

#: Asks this process to end, and a shepherd to kill its flock. Not SIGTERM: `pkill` in a command may send that.
_END = signal.SIGUSR2
#: Tells a shepherd that a command is waiting for it; one that is sent without a command does nothing.
_WORK = signal.SIGUSR1
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTSTP)
#: What a command must find at its default although this process, or Python, set it otherwise.
_RESET = (*_IGNORED, _END, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ)

_libc = ctypes.CDLL(None)


def frame(letter: bytes, number: int, status: int) -> bytes:
    return letter + number.to_bytes(4, "big") + status.to_bytes(4, "big")


def main(channel_fd: int, kind: str, folder: str = "", *masks: str) -> None:
    """Be the supervisor of a sandbox that is `isolated`, or the `fork server` of others."""
    os.set_inheritable(channel_fd, False)
    os.close(int(os.path.basename(sys.argv[0])))  # this file: commands must not inherit it
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if _LINUX:
        _prctl(_PR_SET_NAME, _NAME)
        _overwrite_arguments()
        if kind == "fork server" and os.geteuid() == 0:
            _forbid_reading_other_processes()
    for mask in masks:
        try:
            os.chmod(mask, 0o1777)
        except OSError:
            pass
    channel = socket.socket(fileno=channel_fd)
    if kind == "fork server":
        ForkServer(channel).serve()
    else:
        supervise(channel, folder)
    os._exit(0)  # there is nothing that the interpreter would have to tidy up


def supervise(channel: socket.socket, folder: str) -> None:
    if _LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    Supervisor(channel).serve()
    exterminate()
    empty(folder)


class ForkServer:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def serve(self) -> None:
        """Fork supervisors until the engine goes away. They go with it, and with this process."""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
        signal.signal(_END, lambda *_: os._exit(0))
        if _LINUX:
            _prctl(_PR_SET_PDEATHSIG, _END)
        while True:
            try:
                data, fds = _take(self._channel)
            except ConnectionError:
                break
            if not data:
                break
            self._fork(*fds)
            for fd in fds:
                os.close(fd)
        # They end: who waits for this process waits for all.
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            time.sleep(0.001)

    def _fork(self, channel: int, diagnostics: int, path: int) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            _complain(diagnostics, f"no process can be started: {error.strerror}")
            return
        if pid:
            return
        try:
            if _LINUX:
                _prctl(_PR_SET_PDEATHSIG, _END)
            if os.getppid() != parent:
                return
            os.setsid()
            self._channel.close()
            os.dup2(diagnostics, 1)
            os.dup2(diagnostics, 2)
            os.close(diagnostics)
            supervise(socket.socket(fileno=channel), _path_in(path))
        except BaseException as error:
            _complain(2, f"{type(error).__name__}: {error}")
        finally:
            os._exit(0)


class Supervisor:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        #: Command numbers by the pid of their shepherd, and the other way round.
        self._numbers: dict[int, int] = {}
        self._shepherds: dict[int, int] = {}
        #: The socket to each shepherd, by pid: our end, and its own. The pids by the descriptor of our end.
        self._sockets: dict[int, tuple[socket.socket, socket.socket]] = {}
        self._pids: dict[int, int] = {}
        #: Shepherds that wait for a command, and those that were told to end.
        self._idle: list[int] = []
        self._doomed: set[int] = set()
        self._poll = select.poll()
        self._ended = False

    def serve(self) -> None:
        """Run commands until the engine goes away."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(_END, self._end)
        if _LINUX:
            # The socket ends with its owner, unless a fork of it holds a copy: this signal then still comes.
            # It also replaces the SIGKILL of bubblewrap's --die-with-parent, which would leave the folder full.
            _prctl(_PR_SET_PDEATHSIG, _END)
        self._channel.sendall(frame(b"R", 0, os.getpid()))
        self._poll.register(self._channel.fileno(), select.POLLIN)
        self._poll.register(wake_read, select.POLLIN)
        while not self._ended:
            ready = [fd for fd, _ in self._poll.poll()]
            for fd in ready:
                if fd in self._pids:
                    self._hear(self._pids[fd])
            if wake_read in ready:
                os.read(wake_read, 4096)
                self._reap()
            if self._channel.fileno() in ready and not self._receive():
                return

    def _end(self, *_: object) -> None:
        self._ended = True

    def _receive(self) -> bool:
        try:
            data, fds = _take(self._channel)
        except ConnectionError:
            return False
        if len(data) < FRAME_IN:
            return False
        number = int.from_bytes(data[1:], "big")
        if data[:1] == b"E":
            self._run(number, data, fds)
        elif number in self._shepherds:
            pid = self._shepherds[number]
            # It may be about to say that it is idle: a command that it was given then would die for this one.
            self._doomed.add(pid)
            os.kill(pid, _END)
        return True

    def _run(self, number: int, order: bytes, fds: list[int]) -> None:
        try:
            pid = self._idle.pop() if self._idle else self._fork()
            self._numbers[pid] = number
            self._shepherds[number] = pid
            rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
            self._sockets[pid][0].sendmsg([order], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            os.kill(pid, _WORK)
        except OSError as error:
            _complain(fds[2], f"the command cannot be started: {error.strerror}")
            self._report(b"X", number, 126)
            self._report(b"G", number, 126)
        finally:
            for fd in fds:
                os.close(fd)

    def _fork(self) -> int:
        """Start a shepherd and return its process id."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        # A kill may follow at once: it must find the shepherd waiting for it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                try:
                    self._shepherd(theirs, parent)
                finally:
                    os._exit(1)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._sockets[pid] = ours, theirs
        self._pids[ours.fileno()] = pid
        self._poll.register(ours.fileno(), select.POLLIN)
        return pid

    def _hear(self, pid: int) -> None:
        """A shepherd says that nothing is left of its command."""
        self._sockets[pid][0].recv(1)
        self._gone(pid)
        if pid not in self._doomed:
            self._idle.append(pid)

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._sockets:
                self._bury(pid)

    def _bury(self, pid: int) -> None:
        """A shepherd has ended. A command that it did not get to see goes to another one."""
        ours, theirs = self._forget(pid)
        if pid in self._idle:
            self._idle.remove(pid)
        try:
            order, fds = _take(theirs, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._gone(pid)
        else:
            if pid in self._doomed:
                self._gone(pid)
                for fd in fds:
                    os.close(fd)
            else:
                self._run(self._numbers.pop(pid), order, fds)
        self._doomed.discard(pid)
        ours.close()
        theirs.close()

    def _forget(self, pid: int) -> tuple[socket.socket, socket.socket]:
        ours, theirs = self._sockets.pop(pid)
        del self._pids[ours.fileno()]
        self._poll.unregister(ours.fileno())
        return ours, theirs

    def _gone(self, pid: int) -> None:
        number = self._numbers.pop(pid, None)
        if number is not None:
            del self._shepherds[number]
            self._report(b"G", number, 128 + signal.SIGKILL)

    def _report(self, letter: bytes, number: int, status: int) -> None:
        try:
            self._channel.sendall(frame(letter, number, status))
        except OSError:  # the engine has gone; the socket's end says so too
            pass

    def _shepherd(self, orders: socket.socket, parent: int) -> None:
        """Run one command after another: tell how its leader ended, and that its last descendant has."""
        if _LINUX:
            _prctl(_PR_SET_CHILD_SUBREAPER, 1)
            _prctl(_PR_SET_PDEATHSIG, _END)
            if os.getppid() != parent:
                os._exit(1)
        signal.signal(_WORK, lambda *_: None)  # not all systems keep an ignored signal for sigwait
        number, leader = 0, 0
        while True:
            sent = signal.sigwait([signal.SIGCHLD, _WORK, _END])
            if sent == _END:
                if not _LINUX and leader:
                    _kill(-leader, signal.SIGKILL)
                exterminate()
                os._exit(0)
            if sent == _WORK and not number:
                try:
                    data, fds = _take(orders, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    continue
                number = int.from_bytes(data[1:], "big")
                started, code = launch(fds)
                leader = started or 0
                if started is None:
                    self._report(b"X", number, code)
                for fd in fds:
                    os.close(fd)
                os.chdir("/")
            while number:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    number = leader = 0
                    orders.send(b".")
                    break
                if pid == 0:
                    break
                if pid == leader:
                    exit_code = os.waitstatus_to_exitcode(status)
                    self._report(b"X", number, exit_code if exit_code >= 0 else 128 - exit_code)


def _take(source: socket.socket, flags: int = 0) -> tuple[bytes, list[int]]:
    """Receive one frame, or less at the end, and the descriptors that came with it."""
    flags |= getattr(socket, "MSG_CMSG_CLOEXEC", 0)
    # Exactly one frame a read: the kernel then never joins the descriptors of two.
    data, attached, _, _ = source.recvmsg(FRAME_IN, socket.CMSG_SPACE(4 * 4), flags)
    fds: list[int] = []
    for _, _, raw in attached:
        fds += memoryview(raw[: len(raw) // 4 * 4]).cast("i").tolist()
    return data, fds


def _path_in(fd: int) -> str:
    with open(fd, "rb") as file:
        return os.fsdecode(file.read())


def launch(fds: list[int]) -> tuple[int | None, int]:
    """Start the command that is described in `fds`; return its process id, or None and the exit code it gets.

    Adds the null device to `fds` where they have no stdin.

    By `posix_spawn`: forking an interpreter a second time costs as much as starting bash.
    """
    if len(fds) < 4:
        fds.append(os.open(os.devnull, os.O_RDONLY))
    description, stdout, stderr, stdin = fds
    with open(description, "rb", closefd=False) as file:
        argv, env, cwd = marshal.load(file)
    try:
        os.chdir(cwd)
    except (OSError, ValueError) as error:
        _complain(stderr, f"cannot change to the folder {cwd!r}: {_text(error)}")
        return None, 126
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((stdin, stdout, stderr))]
    found: OSError | None = None
    for path in _candidates(argv[0] if argv else "", env):
        # Asked first, because a spawn that fails costs as much as one that does not.
        if not os.access(path, os.X_OK):
            if os.access(path, os.F_OK):
                found = PermissionError(errno.EACCES, "")
            continue
        try:
            return os.posix_spawn(
                path, argv, env, file_actions=actions, setsid=True, setsigmask=[], setsigdef=_RESET
            ), 0
        except PermissionError as error:  # a folder, say; another one further on may do
            found = error
        except (OSError, ValueError) as error:
            _complain(stderr, f"{argv[0] if argv else ''}: {_text(error)}")
            return None, 126
    _complain(stderr, f"{argv[0] if argv else ''}: {_text(found) if found else 'command not found'}")
    return None, 126 if found else 127


def _candidates(program: str, env: dict[str, str]) -> list[str]:
    if "/" in program:
        return [program]
    return [f"{folder or '.'}/{program}" for folder in env.get("PATH", os.defpath).split(":")] if program else []


def _text(error: Exception) -> str:
    if isinstance(error, OSError):
        if error.errno == errno.E2BIG:
            return "arguments and environment are larger than the system allows"
        return os.strerror(error.errno or 0)
    return str(error)


def exterminate() -> None:
    """Kill and reap every descendant of this process."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if os.getpid() == 1:
            _kill(-1, signal.SIGKILL)  # all that there is in bubblewrap, at one go
        else:
            for pid in _stopped_descendants():
                _kill(pid, signal.SIGKILL)
        pause = 0.0002
        while time.monotonic() < deadline:
            try:
                if os.waitpid(-1, os.WNOHANG)[0]:
                    continue
            except ChildProcessError:
                return
            if pause > 0.01:
                break  # something new may have come: look again
            time.sleep(pause)
            pause *= 2


def _stopped_descendants() -> set[int]:
    """Stop all descendants, parents first, so that nothing forks faster than it is found; return them."""
    found: set[int] = set()
    before = -1
    while before < len(found):
        before = len(found)
        ahead = [os.getpid()]
        while ahead:
            for child in children(ahead.pop()):
                if child not in found:
                    found.add(child)
                    _kill(child, signal.SIGSTOP)
                ahead.append(child)
    return found


def children(pid: int) -> list[int]:
    children: list[int] = []
    if not _LINUX:
        return children
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", 0) as file:
                children += map(int, file.read().split())
    except OSError:  # it has gone
        pass
    return children


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass


def _complain(stderr: int, text: str) -> None:
    try:
        os.write(stderr, f"hermes: {text}\n".encode(errors="backslashreplace"))
    except OSError:
        pass


def _prctl(option: int, argument: int | bytes) -> int:
    if isinstance(argument, int):
        return int(_libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0))
    return int(_libc.prctl(option, argument, 0, 0, 0))


def _overwrite_arguments() -> None:
    """Show a name of our own in the list of processes: `pkill -f python` is not meant for us."""
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
    except (OSError, IndexError, ValueError):
        return
    if 0 < start < end:
        ctypes.memmove(start, _NAME[: end - start - 1].ljust(end - start, b"\0"), end - start)


def _forbid_reading_other_processes() -> None:
    """Keep root's commands out of the environment of processes that hold more capabilities, such as pytest.

    A process that was itself started without CAP_SYS_PTRACE holds no more than they do; then they lose
    CAP_SETPCAP too, which they hardly miss.
    """
    before = _prctl(_PR_CAPBSET_READ, _CAP_SYS_PTRACE)
    for capability in _LOOK_INTO_OTHERS:
        _prctl(_PR_CAPBSET_DROP, capability)
    if before != 1:
        _prctl(_PR_CAPBSET_DROP, _CAP_SETPCAP)


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


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])

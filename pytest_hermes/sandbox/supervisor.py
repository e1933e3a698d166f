"""The processes that run the commands of local sandboxes.

They are no part of pytest's process: a bare interpreter executes this file, alone, with the standard library only.
There are three kinds of them, each a fork of the one before. Their client, which is pytest's process, has a socket to
each, and asks for something by one byte with descriptors attached:

    fork server   forks supervisors of sandboxes that are not isolated. Attached are the socket of the new one, what
                  takes its complaints, and a file with the path of the sandbox's folder
    supervisor    of one sandbox, which says its process id, in 4 bytes, when it is ready. It forks subreapers. Attached
                  are the socket of the new one and the stderr of its first command
    subreaper     runs one command after another. Attached are a description (marshal of argv, env, cwd), stdout, stderr
                  and perhaps stdin. It answers by frames of 2 bytes, letter and status: `B`, it has the command; `X`,
                  the command's leader has ended with this exit code; `G`, nothing of the command is left

A subreaper adopts whatever its command leaves behind, so that "kill the command" means "kill all descendants of its
subreaper", whatever sessions they made for themselves. One that has no descendants left may be given another command:
forking one costs as much as starting bash.

At the end of its socket a subreaper kills what is left of its command, and a supervisor all that is left, and empties
the sandbox's folder.
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
from _collections_abc import Callable  # what `collections` would add is not needed

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

#: Asks a process of this file to end. Not SIGTERM: `pkill` in a command may send that.
_END = signal.SIGUSR2
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTSTP)
#: What a command must find at its default although this process, or Python, set it otherwise.
_RESET = (*_IGNORED, _END, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ)

_libc = ctypes.CDLL(None)


def main(channel_fd: int, kind: str, folder: str = "", *masks: str) -> None:
    """Be the supervisor of a sandbox that is `isolated`, or the `fork server` of others."""
    os.set_inheritable(channel_fd, False)
    os.close(int(os.path.basename(sys.argv[0])))  # this file: commands must not inherit it
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
        serve_supervisors(channel)
    else:
        supervise(channel, folder)
    os._exit(0)  # there is nothing that the interpreter would have to tidy up


def serve_supervisors(channel: socket.socket) -> None:
    """Be a fork server. The supervisors go with the client, and with this process."""
    if not serve_forks(channel, become_supervisor, "no process can be started"):
        return
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:  # they end: who waits for this process waits for all
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        time.sleep(0.001)


def become_supervisor(channel: int, diagnostics: int, path: int) -> None:
    os.setsid()
    os.dup2(diagnostics, 1)
    os.dup2(diagnostics, 2)
    os.close(diagnostics)
    with open(path, "rb") as file:
        folder = os.fsdecode(file.read())
    supervise(socket.socket(fileno=channel), folder)


def supervise(channel: socket.socket, folder: str) -> None:
    if _LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    channel.sendall(os.getpid().to_bytes(4, "big"))
    if not serve_forks(channel, subreaper, "the command cannot be started"):
        _say(channel, b"D", 0)  # or it would seem that commands are killed
    exterminate()
    empty(folder)


def serve_forks(channel: socket.socket, child: Callable[..., None], problem: str) -> bool:
    """Let forks run `child` with the descriptors that are sent, until the client goes away.

    The second descriptor is told, with `problem`, why there can be no fork. Returns False when this process is asked to
    end instead.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they end
    woken = _woken_by(_END)
    if _LINUX:
        # The socket ends with its owner, unless a fork of it holds a copy: this signal then still comes.
        # It also replaces the SIGKILL of bubblewrap's --die-with-parent, which would leave the folder full.
        _prctl(_PR_SET_PDEATHSIG, _END)
    while True:
        if woken in _readable(channel.fileno(), woken):
            return False
        fds = _take(channel)
        if fds is None:
            return True
        try:
            _fork(channel, child, fds)
        except OSError as error:
            _complain(fds[1], f"{problem}: {error.strerror}")
        for fd in fds:
            os.close(fd)


def _fork(channel: socket.socket, child: Callable[..., None], fds: list[int]) -> None:
    parent = os.getpid()
    # They wait until the fork has its own way to be woken: with what it has from its parent it would wake that.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        if os.fork() == 0:
            try:
                if _LINUX:
                    _prctl(_PR_SET_PDEATHSIG, _END)
                if os.getppid() == parent:
                    channel.close()
                    child(*fds)
            except BaseException as error:
                _complain(2, f"{type(error).__name__}: {error}")
            finally:
                os._exit(0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def subreaper(channel: int, stderr: int) -> None:
    """Run one command after another: tell how its leader ended, and that its last descendant has."""
    os.close(stderr)
    client = socket.socket(fileno=channel)
    if _LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    woken = _woken_by(signal.SIGCHLD, _END)
    leader, busy = 0, False
    while True:
        ready = _readable(channel, woken)
        if woken in ready and _END in os.read(woken, 4096):
            break
        if channel in ready:
            fds = _take(client)
            if fds is None:
                break
            _say(client, b"B", 0)
            started, code = launch(fds)
            leader, busy = started or 0, True
            if started is None:
                _say(client, b"X", code)
            for fd in fds:
                os.close(fd)
            os.chdir("/")
        while busy:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                leader, busy = 0, False
                _say(client, b"G", 0)
                break
            if pid == 0:
                break
            if pid == leader:
                exit_code = os.waitstatus_to_exitcode(status)
                _say(client, b"X", exit_code if exit_code >= 0 else 128 - exit_code)
    if not _LINUX and leader:
        _kill(-leader, signal.SIGKILL)
    exterminate()


def _woken_by(*numbers: int) -> int:
    """Return a descriptor from which the numbers of signals can be read that come from now on."""
    woken, write = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    return woken


def _readable(*fds: int) -> list[int]:
    """Wait until some of these can be read, and return them."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll()]


def _say(client: socket.socket, letter: bytes, status: int) -> None:
    try:
        client.send(letter + bytes([status]))
    except OSError:  # the client has gone; the socket's end says so too
        pass


def _take(source: socket.socket) -> list[int] | None:
    """Receive a byte and the descriptors that came with it; None at the end."""
    try:
        # Exactly one byte a read: the kernel then never joins the descriptors of two.
        data, attached, _, _ = source.recvmsg(1, socket.CMSG_SPACE(4 * 4), getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    except ConnectionError:
        return None
    fds: list[int] = []
    for _, _, raw in attached:
        fds += memoryview(raw[: len(raw) // 4 * 4]).cast("i").tolist()
    return fds if data else None


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
    program, path = argv[0] if argv else "", env.get("PATH", os.defpath)
    os.environ["PATH"] = path  # where it is looked for
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((stdin, stdout, stderr))]
    try:
        return os.posix_spawnp(
            program, argv, env, file_actions=actions, setsid=True, setsigmask=[], setsigdef=_RESET
        ), 0
    except (OSError, ValueError) as error:
        # What is there may lack its interpreter.
        paths = [program] if "/" in program else [f"{folder or '.'}/{program}" for folder in path.split(":")]
        found = program and any(map(os.path.exists, paths))
        _complain(stderr, f"{program}: {_text(error) if found else 'command not found'}")
        return None, 126 if found else 127


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

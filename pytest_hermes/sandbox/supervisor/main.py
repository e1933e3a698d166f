"""The fork server, and the supervisor of a sandbox."""

# ruff: noqa: SIM105 - contextlib would take a millisecond to import

from __future__ import annotations

# `socket` and `signal` spend two thirds of this interpreter's start on `enum`; the modules below them are enough.
import _signal as signal  # type: ignore[import-not-found, unused-ignore]
import _socket as socket
import marshal
import os
import sys
import time
from _collections_abc import Callable, Mapping  # what `collections` would add is not needed

from . import private_root, privileges
from .channel import complain, readable, say, take, woken_by
from .emptying import empty
from .processes import LINUX, PATIENCE, crowded, exterminate, too_many
from .subreaper import END, IGNORED, run_commands

_Children = Mapping[bytes, Callable[..., None]]


def main(kind: str, *arguments: str) -> None:
    """Be the supervisor of a sandbox that is `isolated`, or the `fork server` of others.

    Their arguments: the socket, and of an isolated one its folder, how many processes the sandbox may have, and the
    folders that anybody in it may write to. A `probe` says what an isolated one would be able to do.
    """
    os.close(int(os.path.basename(sys.argv[0])))  # this program: commands must not inherit it
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if LINUX:
        privileges.show_own_name()
        privileges.hide()
    if kind == "probe":
        print(*_abilities(int(arguments[0])))
        sys.stdout.flush()
    elif kind == "fork server":
        serve_supervisors(_channel(arguments[0]))
    else:
        supervise_isolated(_channel(arguments[0]), arguments[1], int(arguments[2]), arguments[3:])
    os._exit(0)  # there is nothing that the interpreter would have to tidy up


def _channel(text: str) -> socket.socket:
    os.set_inheritable(int(text), False)
    return socket.socket(fileno=int(text))


def _abilities(limit: int) -> list[str]:
    """Return what works here: `private` commands, and to have the number of processes `limited`."""
    works = []
    if privileges.hold_back_capabilities():
        pid = os.fork()
        if pid == 0:
            try:
                private_root.enter(["/tests", "/logs/verifier"])
                privileges.start_private_programs()
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(pid, 0)[1] == 0:
            works.append("private")
    if privileges.limit_processes(limit):
        works.append("limited")
    return works


def serve_supervisors(channel: socket.socket) -> None:
    """Be a fork server. The supervisors go with the client, and with this process."""
    if LINUX and os.geteuid() == 0:
        privileges.forbid_reading_other_processes()
    if not serve(channel, {b"F": _become_supervisor}, "no process can be started"):
        return
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:  # they end: who waits for this process waits for all
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        time.sleep(0.001)


def _become_supervisor(channel: int, diagnostics: int, path: int) -> None:
    os.setsid()
    os.dup2(diagnostics, 1)
    os.dup2(diagnostics, 2)
    os.close(diagnostics)
    with open(path, "rb") as file:
        folder = os.fsdecode(file.read())
    _supervise(socket.socket(fileno=channel), folder, {b"F": _subreaper}, limit=0)


def supervise_isolated(channel: socket.socket, folder: str, limit: int, shared: tuple[str, ...]) -> None:
    """Supervise a sandbox as its init."""
    privileges.hold_back_capabilities()
    if not privileges.limit_processes(limit):
        limit = 0
    for path in shared:
        try:
            os.chmod(path, 0o1777)
        except OSError:
            pass

    def subreaper(channel: int, stderr: int) -> None:
        os.close(stderr)
        privileges.start_ordinary_programs()
        run_commands(channel, isolated=True, limit=limit)

    def private(channel: int, stderr: int, description: int) -> None:
        with open(description, "rb") as file:
            folders = marshal.load(file)
        try:
            private_root.enter(folders)
            privileges.start_private_programs()
        except OSError as error:
            complain(stderr, f"the private folders of a command cannot be made: {error.strerror}")
            return
        os.close(stderr)
        run_commands(channel, isolated=True, limit=limit)

    _supervise(channel, folder, {b"F": subreaper, b"P": private}, limit=limit)


def _supervise(channel: socket.socket, folder: str, children: _Children, *, limit: int) -> None:
    if LINUX:
        privileges.adopt_orphans()
    channel.sendall(os.getpid().to_bytes(4, "big"))
    if not serve(channel, children, "the command cannot be started", limit=limit):
        say(channel, b"D", 0)  # or it would seem that commands are killed
    exterminate()
    empty(folder)


def _subreaper(channel: int, stderr: int) -> None:
    os.close(stderr)
    run_commands(channel, isolated=False, limit=0)


def serve(channel: socket.socket, children: _Children, problem: str, *, limit: int = 0) -> bool:
    """Do what the client asks for until it goes away: let forks run `children` with the descriptors that are sent.

    The first descriptor, or the second with `problem`, is told why there can be no fork. Returns False when this
    process is asked to end instead.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they end
    # An init hears no signal that it does not ask for: one that it asks for, anything in its sandbox could send.
    init = os.getpid() == 1
    woken = woken_by(*(() if init else (END,)))
    if LINUX and not init:
        # The socket ends with its owner, unless a fork of it holds a copy: this signal then still comes.
        privileges.hear_of_parents_death(END)
    watched = [woken]
    while True:
        if set(readable(channel.fileno(), *watched)) & set(watched):
            return False
        asked = take(channel)
        if asked is None:
            return True
        letter, fds = asked
        if letter == b"W":
            watched.append(os.dup(fds[0]))
            # It replaces the SIGKILL of bubblewrap's --die-with-parent, which would leave the folder full.
            privileges.hear_of_parents_death(0)
        elif letter == b"K":
            _answer(fds[0], exterminate())
        else:
            try:
                _fork(channel, children[letter], fds)
            except OSError as error:
                _refuse(fds, error, problem, limit)
        for fd in fds:
            os.close(fd)


def _answer(fd: int, yes: bool) -> None:
    try:
        os.write(fd, bytes([yes]))
    except OSError:  # nobody waits for it any more
        pass


def _refuse(fds: list[int], error: OSError, problem: str, limit: int) -> None:
    if limit and too_many(error):
        try:
            os.write(fds[0], b"N" + bytes([crowded(limit)]))
        except OSError:
            pass
    else:
        complain(fds[1], f"{problem}: {error.strerror}")


def _fork(channel: socket.socket, child: Callable[..., None], fds: list[int]) -> None:
    parent = os.getpid()
    # They wait until the fork has its own way to be woken: with what it has from its parent it would wake that.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        if os.fork() == 0:
            try:
                # An init takes all with it.
                if LINUX and parent != 1:
                    privileges.hear_of_parents_death(END)
                if os.getppid() == parent:
                    channel.close()
                    child(*fds)
            except BaseException as error:
                complain(2, f"{type(error).__name__}: {error}")
            finally:
                os._exit(0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

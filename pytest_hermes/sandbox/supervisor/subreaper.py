"""The process that runs one command after another."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found, unused-ignore]
import _socket as socket
import errno
import marshal
import os

from .archive import pack
from .channel import complain, readable, say, take, woken_by
from .privileges import adopt_orphans
from .processes import LINUX, crowded, exterminate, kill, too_many

#: Asks a process of this package that is not isolated to end. Not SIGTERM: `pkill` in a command may send that.
END = signal.SIGUSR2
IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTSTP)
#: What a command must find at its default although this process, or Python, set it otherwise.
_RESET = (*IGNORED, END, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ)


def run_commands(channel: int, *, isolated: bool, limit: int) -> None:
    """Tell how the leader of each command ended, and that its last descendant has.

    `limit` is how many processes the sandbox may have, 0 where that is not known.
    """
    client = socket.socket(fileno=channel)
    if LINUX:
        adopt_orphans()
    if isolated:
        signal.signal(END, signal.SIG_IGN)
    woken = woken_by(signal.SIGCHLD, *(() if isolated else (END,)))
    leader, busy = 0, False
    while True:
        ready = readable(channel, woken)
        if woken in ready and END in os.read(woken, 4096):
            break
        if channel in ready:
            asked = take(client)
            if asked is None:
                break
            letter, fds = asked
            say(client, b"B", 0)  # first: what is started may kill this process at once
            try:
                started, code = _archive(fds) if letter == b"A" else _launch(fds, limited=limit > 0)
            except OSError:  # there can be no more processes
                say(client, b"N", limit > 0 and crowded(limit))
            else:
                say(client, b"S", 0)
                leader, busy = started or 0, True
                if started is None:
                    say(client, b"X", code)
            for fd in fds:
                os.close(fd)
            os.chdir("/")
        while busy:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                leader, busy = 0, False
                say(client, b"G", 0)
                break
            if pid == 0:
                break
            if pid == leader:
                exit_code = os.waitstatus_to_exitcode(status)
                say(client, b"X", exit_code if exit_code >= 0 else 128 - exit_code)
    if not LINUX and leader:
        kill(-leader, signal.SIGKILL)
    exterminate()


def _launch(fds: list[int], *, limited: bool) -> tuple[int | None, int]:
    """Start the command that is described in `fds`; return its process id, or None and the exit code it gets.

    Adds the null device to `fds` where they have no stdin. Raises OSError when there can be no more processes in a
    sandbox with a limit of its own: elsewhere nobody can tell whose doing that is.

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
        complain(stderr, f"cannot change to the folder {cwd!r}: {_text(error)}")
        return None, 126
    program, path = argv[0] if argv else "", env.get("PATH", os.defpath)
    os.environ["PATH"] = path  # where it is looked for
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((stdin, stdout, stderr))]
    try:
        return os.posix_spawnp(
            program, argv, env, file_actions=actions, setsid=True, setsigmask=[], setsigdef=_RESET
        ), 0
    except (OSError, ValueError) as error:
        if limited and isinstance(error, OSError) and too_many(error):
            raise
        # What is there may lack its interpreter.
        places = [program] if "/" in program else [f"{folder or '.'}/{program}" for folder in path.split(":")]
        found = program and any(map(os.path.exists, places))
        complain(stderr, f"{program}: {_text(error) if found else 'command not found'}")
        return None, 126 if found else 127


def _archive(fds: list[int]) -> tuple[int, int]:
    """Start a process that writes a tar of the path that is described in `fds`; return its process id."""
    description, stdout, stderr = fds
    with open(description, "rb", closefd=False) as file:
        path, largest = marshal.load(file)
    pid = os.fork()
    if pid:
        return pid, 0
    code = 1
    try:
        os.setsid()
        with open(stdout, "wb", closefd=False) as stream:
            code = pack(path, stream, largest)
    except (OSError, ValueError) as error:
        complain(stderr, f"{path}: {_text(error)}")
    finally:
        os._exit(code)


def _text(error: Exception) -> str:
    if isinstance(error, OSError):
        if error.errno == errno.E2BIG:
            return "arguments and environment are larger than the system allows"
        return os.strerror(error.errno or 0)
    return str(error)

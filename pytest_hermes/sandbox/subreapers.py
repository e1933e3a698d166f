"""The client's ends of the sockets to the processes that run a sandbox's commands; see supervisor/__init__.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence

from ..core.shielded import Shielded
from ..errors import InfrastructureError, SandboxBroken
from .pipes import PipeReader
from .running import RunningCommand

#: Seconds.
_KILL_TIMEOUT = 5.0
_PAUSE = 0.005
#: For how long a command that finds too many processes waits for their end.
_CROWDED_TIMEOUT = 3.0
_CROWDED_PAUSE = 0.1

_KILLED = 128 + signal.SIGKILL
_NOT_STARTED = 126


class Command(RunningCommand):
    """A command in the sandbox; `gone` means nothing of it is left.

    `letter` is what its subreaper is asked for. `private` are the folders of its own.
    """

    def __init__(self, letter: bytes = b"E", private: Sequence[str] = ()) -> None:
        super().__init__()
        self.letter = letter
        self.private = private
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pipes: list[PipeReader] = []
        #: What its subreaper is sent: description, stdout, stderr, perhaps stdin. None are left once it is started.
        self.fds: list[int] = []
        self.subreaper: Subreaper | None = None
        #: Whether its subreaper has it, and may have started it.
        self.begun = False
        #: Whether it must not be started any more.
        self.killed = False
        #: Until when it is tried to start it, once the sandbox has had too many processes for it.
        self.deadline: float | None = None
        self._broken: Exception | None = None

    def break_off(self, error: Exception) -> None:
        """Its output cannot be passed on: nobody should wait for the rest."""
        self._broken = error
        self.settle(error)

    async def kill(self) -> None:
        """End its whole tree; return when it is gone, or after some seconds if it cannot be killed."""
        if self.gone.done():
            return
        self.killed = True
        if self.subreaper is not None:
            self.subreaper.end()
        shielded = Shielded()
        await shielded.wait(self.gone, _KILL_TIMEOUT)
        shielded.release()

    def collect(self) -> None:
        """See `RunningCommand.collect`."""
        for pipe in self.pipes:
            pipe.drain()
        if self._broken is not None:
            raise self._broken

    def discard(self) -> None:
        """See `RunningCommand.discard`."""
        for pipe in self.pipes:
            pipe.discard()

    def release(self) -> None:
        """Close the descriptors that its subreaper has, or does not need any more."""
        while self.fds:
            os.close(self.fds.pop())


class Subreaper:
    """A process that runs one command after another, or just one that is private."""

    def __init__(self, channel: socket.socket, *, private: bool) -> None:
        self.channel = channel
        self.private = private
        self.command: Command | None = None
        #: Whether it has ever got a command.
        self.proven = False
        self.ending = False

    def end(self) -> None:
        """Let it kill what it runs, and end."""
        self.ending = True
        with contextlib.suppress(OSError):  # it has ended
            self.channel.shutdown(socket.SHUT_WR)


class Subreapers:
    """Those of one sandbox: there are as many as it ever had commands at once.

    `fork` asks for one: it is given the other end of its socket, what takes the complaint if there can be none, and
    the private folders of its one command, if it is for such a one.
    `death` is asked what has happened when all of them are lost.
    """

    def __init__(self, fork: Callable[[int, int, Sequence[str]], object], death: Callable[[], Exception]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fork = fork
        self._death = death
        #: Whether the sandbox itself is at its end, which is what ends commands from now on.
        self.dying = False
        self._all: set[Subreaper] = set()
        self._idle: list[Subreaper] = []
        self._commands: set[Command] = set()

    def run(self, command: Command) -> None:
        """Give a command to one that has none, or to a new one."""
        self._commands.add(command)
        self._assign(command)

    def lose(self) -> None:
        """All of them are gone, and with them every command."""
        for subreaper in list(self._all):
            self._forget(subreaper)
        for command in list(self._commands):
            self._finish(command, self._death())

    def _assign(self, command: Command) -> None:
        if command not in self._commands:
            return
        if command.killed:
            self._finish(command, _KILLED)
            return
        try:
            subreaper = self._idle.pop() if self._idle and not command.private else self._new(command)
        except BlockingIOError:  # hundreds at once
            self._loop.call_later(_PAUSE, self._assign, command)
            return
        except ConnectionError:
            self._finish(command, self._death())
            return
        except OSError as error:
            why = f"a command cannot be started: {error.strerror}"
            self._finish(command, InfrastructureError(why, kind="sandbox"))
            return
        subreaper.command, command.subreaper = command, subreaper
        with contextlib.suppress(OSError):  # it has died, which is heard next
            socket.send_fds(subreaper.channel, [command.letter], command.fds)

    def _new(self, command: Command) -> Subreaper:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        with theirs:
            try:
                self._fork(theirs.fileno(), command.fds[2], command.private)
            except BaseException:
                ours.close()
                raise
        subreaper = Subreaper(ours, private=bool(command.private))
        self._all.add(subreaper)
        self._loop.add_reader(ours, self._hear, subreaper)
        return subreaper

    def _hear(self, subreaper: Subreaper) -> None:
        try:
            frames = subreaper.channel.recv(64)
        except BlockingIOError:
            return
        except OSError:
            frames = b""
        if not frames:
            self._bury(subreaper)
        for letter, status in zip(frames[::2], frames[1::2], strict=True):
            command = subreaper.command
            assert command is not None
            if letter == ord("B"):
                subreaper.proven = command.begun = True
            elif letter == ord("S"):
                command.release()
            elif letter == ord("X"):
                command.settle(status)
            else:
                subreaper.command = command.subreaper = None
                if subreaper.private:
                    subreaper.end()
                if not subreaper.ending:
                    self._idle.append(subreaper)
                if letter == ord("N"):
                    self._crowd(command, broken=bool(status))
                else:
                    self._finish(command, _KILLED)

    def _crowd(self, command: Command, *, broken: bool) -> None:
        """A command cannot be started: there are too many processes, the sandbox's own (`broken`) or others'."""
        now = self._loop.time()
        command.begun = False
        command.deadline = command.deadline or now + _CROWDED_TIMEOUT
        if now < command.deadline:
            self._loop.call_later(_CROWDED_PAUSE, self._assign, command)
        elif broken:
            self._finish(command, SandboxBroken("a command can no longer be started: too many processes run"))
        else:
            why = "a command cannot be started: this machine runs too many processes"
            self._finish(command, InfrastructureError(why, kind="sandbox"))

    def _bury(self, subreaper: Subreaper) -> None:
        """One has ended. A command that it did not get to see goes to another."""
        self._forget(subreaper)
        command = subreaper.command
        if command is None:
            if subreaper in self._idle:
                self._idle.remove(subreaper)
        elif self.dying:
            pass  # until all are lost
        elif subreaper.ending or command.begun:
            self._finish(command, _KILLED)
        elif subreaper.proven:
            self._assign(command)
        else:
            self._finish(command, _NOT_STARTED)  # there could be no fork

    def _forget(self, subreaper: Subreaper) -> None:
        self._all.discard(subreaper)
        self._loop.remove_reader(subreaper.channel)
        subreaper.channel.close()

    def _finish(self, command: Command, outcome: int | Exception) -> None:
        """Nothing is left of a command; `outcome` is said of it where its leader's exit code has not come."""
        self._commands.discard(command)
        command.release()
        command.settle(outcome)
        command.gone.set_result(None)

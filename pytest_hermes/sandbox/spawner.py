"""The engine's end of the socket to a sandbox's supervisor."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import marshal
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from ..errors import InfrastructureError
from . import supervisor
from .fork_server import ForkServer
from .launch import kill, launch, reap
from .memory_file import memory_file
from .pipes import PipeReader
from .steadfast import Steadfast

#: Seconds.
_START_TIMEOUT = 30.0
_KILL_TIMEOUT = 5.0
_END_TIMEOUT = 5.0

Sink = Callable[[bytes], object]


class Command:
    """A command in the sandbox: `exited` is its leader's exit code, `gone` means nothing of it is left."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop, kill: Callable[[int], None]) -> None:
        self.exited: asyncio.Future[int] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.started = time.monotonic()
        self.pipes: list[PipeReader] = []
        #: What went wrong where its output is sent to.
        self.broken: Exception | None = None
        self._number = number
        self._kill = kill

    def fail(self, error: Exception) -> None:
        """Let `exited` raise `error`, unless the leader has ended already."""
        if not self.exited.done():
            self.exited.set_exception(error)
            self.exited.exception()  # nobody may be waiting for it, which is no reason to complain

    def break_off(self, error: Exception) -> None:
        """Its output cannot be passed on: nobody should wait for the rest."""
        self.broken = error
        self.fail(error)

    async def kill(self) -> None:
        """End its whole tree; return when it is gone, or after some seconds if it cannot be killed."""
        if self.gone.done():
            return
        self._kill(self._number)
        steadfast = Steadfast()
        await steadfast.wait(self.gone, _KILL_TIMEOUT)
        steadfast.release()

    def collect(self) -> None:
        """Take what its pipes hold now. Raises what went wrong where that is sent to."""
        for pipe in self.pipes:
            pipe.drain()
        if self.broken is not None:
            raise self.broken

    def discard(self) -> None:
        """Throw away what it writes from now on."""
        for pipe in self.pipes:
            pipe.discard()


class Spawner:
    """Runs commands through one supervisor process. Belongs to the event loop in which it is created."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        #: The supervisor's process id, or that of the bubblewrap around it.
        self.pid: int | None = None
        # One of these two has started it.
        self._popen: subprocess.Popen[bytes] | None = None
        self._server: ForkServer | None = None
        self._channel: socket.socket | None = None
        self._diagnostics = -1
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._closing = False
        self._inbox = b""
        self._outbox: collections.deque[tuple[bytes, list[int]]] = collections.deque()
        self._commands: dict[int, Command] = {}
        self._pipes: set[PipeReader] = set()
        self._serial = 0

    async def start(
        self, prefix: Sequence[str], *, isolated: bool, folder: str, masks: Sequence[str], env: Mapping[str, str]
    ) -> None:
        """Launch the supervisor; its own environment is `env`. `prefix` and `masks` are for one that is isolated.

        Raises InfrastructureError when it does not come up. Call `close` in any case.
        """
        try:
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with theirs:
                self._channel.setblocking(False)
                self._diagnostics = memory_file()
                if isolated:
                    arguments = ["isolated", folder, *masks]
                    self._popen = launch(prefix, theirs, arguments, diagnostics=self._diagnostics, env=env)
                    self.pid = self._popen.pid
                else:
                    self._server = ForkServer.enter(env)
                    await self._server.fork(theirs, self._diagnostics, folder)
        except OSError as error:
            raise InfrastructureError(f"a local sandbox cannot be started: {error}", kind="sandbox") from error
        self._loop.add_reader(self._channel, self._receive)
        await asyncio.wait([self._ready, self._ended], timeout=_START_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            silence = "it ended" if self._ended.done() else f"it did not answer within {_START_TIMEOUT:g} seconds"
            why = self._said() or silence
            raise InfrastructureError(f"a local sandbox cannot be started: {why}", kind="sandbox")

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        stdin: int | None,
        stdout: Sink,
        stderr: Sink,
    ) -> Command:
        """Start a command. `stdin` is a descriptor that is closed here; None is the null device.

        Raises InfrastructureError when the supervisor is gone.
        """
        owned = [] if stdin is None else [stdin]
        try:
            if self._closing or self._ended.done() or self._channel is None:
                raise self._death()
            self._serial += 1
            command = Command(self._serial, self._loop, self._kill)
            owned.insert(0, memory_file(marshal.dumps((list(argv), dict(env), cwd))))
            for index, sink in enumerate((stdout, stderr), start=1):
                pipe = PipeReader(self._loop, sink, failed=command.break_off, closed=self._pipes.discard)
                self._pipes.add(pipe)
                command.pipes.append(pipe)
                owned.insert(index, pipe.write_fd)
        except BaseException:
            for fd in owned:
                os.close(fd)
            raise
        self._commands[self._serial] = command
        self._post(b"E", self._serial, owned)
        return command

    async def close(self) -> None:
        """Kill every process and wait until they are gone. May be called twice; cancellation does not stop it."""
        self._closing = True
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_WR)
        steadfast = Steadfast()
        if self.pid is not None and not await steadfast.wait(self._ended, _END_TIMEOUT):
            self._kill_hard(self.pid)
            await steadfast.wait(self._ended, _END_TIMEOUT)
        if self._popen is not None:
            await steadfast.wait(self._loop.run_in_executor(None, reap, self._popen))
        self._finish()
        server, self._server = self._server, None
        if server is not None:
            try:
                await server.leave()
            except asyncio.CancelledError as error:
                steadfast.remember(error)
        steadfast.release()

    def _kill_hard(self, pid: int) -> None:
        """End a supervisor that does not end by itself; its shepherds see it die, or it is the init of all."""
        if self._popen is not None:
            kill(self._popen)
        elif self._server is not None:
            self._server.kill(pid)

    def _finish(self) -> None:
        self._end()
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        for pipe in list(self._pipes):
            pipe.close()
        if self._diagnostics >= 0:
            os.close(self._diagnostics)
            self._diagnostics = -1

    def _kill(self, number: int) -> None:
        if not self._closing and not self._ended.done():
            self._post(b"K", number, [])

    def _post(self, letter: bytes, number: int, fds: list[int]) -> None:
        self._outbox.append((letter + number.to_bytes(4, "big"), fds))
        if len(self._outbox) == 1:
            self._flush()

    def _flush(self) -> None:
        assert self._channel is not None
        while self._outbox:
            frame, fds = self._outbox[0]
            try:
                # So small a frame is sent whole or not at all.
                if fds:
                    socket.send_fds(self._channel, [frame], fds)
                else:
                    self._channel.send(frame)
            except BlockingIOError:
                self._loop.add_writer(self._channel, self._flush)
                return
            except OSError:
                self._end()
                return
            self._outbox.popleft()
            for fd in fds:
                os.close(fd)
        self._loop.remove_writer(self._channel)

    def _receive(self) -> None:
        assert self._channel is not None
        try:
            received = self._channel.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._end()
            return
        self._inbox += received
        size = supervisor.FRAME_OUT
        whole = len(self._inbox) // size * size
        frames, self._inbox = self._inbox[:whole], self._inbox[whole:]
        for start in range(0, whole, size):
            number = int.from_bytes(frames[start + 1 : start + 5], "big")
            status = int.from_bytes(frames[start + 5 : start + size], "big")
            self._handle(frames[start : start + 1], number, status)

    def _handle(self, letter: bytes, number: int, status: int) -> None:
        if letter == b"R":
            if not self._ready.done():
                self.pid = self.pid or status
                self._ready.set_result(None)
            return
        command = self._commands.get(number)
        if command is None:
            return
        if not command.exited.done():
            command.exited.set_result(status)
        if letter == b"G":
            del self._commands[number]
            command.gone.set_result(None)

    def _end(self) -> None:
        """The supervisor is gone, and with it every command."""
        if self._ended.done():
            return
        self._ended.set_result(None)
        if self._channel is not None:
            self._loop.remove_reader(self._channel)
            self._loop.remove_writer(self._channel)
        for _, fds in self._outbox:
            for fd in fds:
                os.close(fd)
        self._outbox.clear()
        for command in self._commands.values():
            command.fail(self._death())
            command.gone.set_result(None)
        self._commands.clear()

    def _death(self) -> InfrastructureError:
        if self._closing or self._channel is None:
            return InfrastructureError("the sandbox is closed", kind="sandbox")
        said = self._said()
        return InfrastructureError(f"the sandbox has died{': ' + said if said else ''}", kind="sandbox")

    def _said(self) -> str:
        if self._diagnostics < 0:
            return ""
        size = os.fstat(self._diagnostics).st_size
        text = os.pread(self._diagnostics, 2000, max(0, size - 2000)).decode(errors="replace")
        lines = [line for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else ""

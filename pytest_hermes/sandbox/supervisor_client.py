"""The client's end of the socket to a sandbox's supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import os
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..core.shielded import Shielded
from ..errors import InfrastructureError
from .fork_server import ForkServer
from .launch import kill, launch, reap
from .memory_file import memory_file
from .pipes import PipeReader
from .subreapers import Command, Subreapers

#: Seconds.
_START_TIMEOUT = 30.0
_END_TIMEOUT = 5.0
_PAUSE = 0.005

Sink = Callable[[bytes], object]


class SupervisorClient:
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
        self._subreapers = Subreapers(self._fork, self._death)
        self._pipes: set[PipeReader] = set()

    async def start(
        self, prefix: Sequence[str], *, folder: str, pids: int, shared: Sequence[str], env: Mapping[str, str]
    ) -> None:
        """Launch the supervisor; its own environment is `env`. `prefix` is what isolates it, if anything.

        What is isolated has at most `pids` processes where they can be limited, and the folders `shared`, to which
        anybody in it may write. Raises InfrastructureError when it does not come up. Call `close` in any case.
        """
        try:
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with theirs:
                self._channel.setblocking(False)
                self._diagnostics = memory_file()
                if prefix:
                    arguments = [folder, str(pids), *shared]
                    self._popen = launch(prefix, theirs, "isolated", *arguments, diagnostics=self._diagnostics, env=env)
                    self.pid = self._popen.pid
                    self._let_watch(self.pid)
                else:
                    self._server = ForkServer.enter(env)
                    await self._server.fork(theirs, self._diagnostics, folder)
        except OSError as error:
            raise InfrastructureError(f"a local sandbox cannot be started: {error}", kind="sandbox") from error
        self._loop.add_reader(self._channel, self._receive)
        await asyncio.wait([self._ready, self._ended], timeout=_START_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            silence = "it ended" if self._ended.done() else f"it did not answer within {_START_TIMEOUT:g} seconds"
            why = self._last_diagnostic() or silence
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
        private: Sequence[str] = (),
    ) -> Command:
        """Start a command. `stdin` is a descriptor that is closed here; None is the null device.

        `private` are folders of its own. Raises InfrastructureError when the supervisor is gone.
        """
        return self._start(Command(b"E", private), (list(argv), dict(env), cwd), stdin, stdout, stderr)

    def archive(self, path: str, largest: int, *, stdout: Sink, stderr: Sink) -> Command:
        """Write a tar of `path` to `stdout`, without any program of the sandbox's; exit codes as of pack.sh.

        It fails where the files have more than `largest` bytes. Raises InfrastructureError when the supervisor is gone.
        """
        return self._start(Command(b"A"), (path, largest), None, stdout, stderr)

    async def end_processes(self) -> bool:
        """Kill every process of the sandbox; return whether they are gone. Raises InfrastructureError."""
        if self._closing or self._ended.done() or self._channel is None:
            raise self._death()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours:
            ours.setblocking(False)
            with theirs:
                await self._ask(b"K", [theirs.fileno()])
            said = await self._loop.sock_recv(ours, 1)
        if not said:
            raise self._death()
        return bool(said[0])

    def _start(self, command: Command, what: Any, stdin: int | None, stdout: Sink, stderr: Sink) -> Command:
        command.fds = [] if stdin is None else [stdin]
        try:
            if self._closing or self._ended.done() or self._channel is None:
                raise self._death()
            command.fds.insert(0, memory_file(marshal.dumps(what)))
            for index, sink in enumerate((stdout, stderr), start=1):
                pipe = PipeReader(self._loop, sink, failed=command.break_off, closed=self._pipes.discard)
                self._pipes.add(pipe)
                command.pipes.append(pipe)
                command.fds.insert(index, pipe.write_fd)
        except BaseException as error:
            command.release()
            for pipe in command.pipes:
                pipe.close()
            if isinstance(error, OSError):
                raise InfrastructureError(f"a command cannot be started: {error}", kind="sandbox") from error
            raise
        self._subreapers.run(command)
        return command

    async def close(self) -> None:
        """Kill every process and wait until they are gone. May be called twice; cancellation does not stop it."""
        self._closing = self._subreapers.dying = True
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_WR)
        shielded = Shielded()
        if self.pid is not None and not await shielded.wait(self._ended, _END_TIMEOUT):
            self._kill_hard(self.pid)
            await shielded.wait(self._ended, _END_TIMEOUT)
        if self._popen is not None:
            await shielded.wait(self._loop.run_in_executor(None, reap, self._popen))
        self._finish()
        server, self._server = self._server, None
        if server is not None:
            try:
                await server.leave()
            except asyncio.CancelledError as error:
                shielded.remember(error)
        shielded.release()

    def _kill_hard(self, pid: int) -> None:
        """End a supervisor that does not end by itself; its subreapers see it die, or it is the init of all."""
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

    def _let_watch(self, pid: int) -> None:
        """Let the supervisor end when this process has: bubblewrap, which itself ends with the client."""
        assert self._channel is not None
        try:
            process = os.pidfd_open(pid)
        except OSError:  # before Linux 5.3; it is then killed, and the folder is left to the next run
            return
        try:
            socket.send_fds(self._channel, [b"W"], [process])
        finally:
            os.close(process)

    async def _ask(self, letter: bytes, fds: Sequence[int]) -> None:
        while True:
            try:
                assert self._channel is not None
                socket.send_fds(self._channel, [letter], fds)
                return
            except BlockingIOError:  # hundreds at once
                await asyncio.sleep(_PAUSE)
            except ConnectionError:
                raise self._death() from None

    def _fork(self, channel: int, stderr: int, private: Sequence[str]) -> None:
        assert self._channel is not None
        if not private:
            socket.send_fds(self._channel, [b"F"], [channel, stderr])
            return
        description = memory_file(marshal.dumps(list(private)))
        try:
            socket.send_fds(self._channel, [b"P"], [channel, stderr, description])
        finally:
            os.close(description)

    def _receive(self) -> None:
        assert self._channel is not None
        try:
            data = self._channel.recv(4)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
        elif self._ready.done():
            self._subreapers.dying = True
        else:
            self.pid = self.pid or int.from_bytes(data, "big")
            self._ready.set_result(None)

    def _end(self) -> None:
        """The supervisor is gone, and with it every command."""
        if self._ended.done():
            return
        self._ended.set_result(None)
        if self._channel is not None:
            self._loop.remove_reader(self._channel)
        self._subreapers.lose()

    def _death(self) -> InfrastructureError:
        if self._closing or self._channel is None:
            return InfrastructureError("the sandbox is closed", kind="sandbox")
        diagnostic = self._last_diagnostic()
        return InfrastructureError(f"the sandbox has died{': ' + diagnostic if diagnostic else ''}", kind="sandbox")

    def _last_diagnostic(self) -> str:
        if self._diagnostics < 0:
            return ""
        size = os.fstat(self._diagnostics).st_size
        text = os.pread(self._diagnostics, 2000, max(0, size - 2000)).decode(errors="replace")
        lines = [line for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else ""

"""One command with folders of its own, from outside of its container."""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import os
import posixpath
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from ....core.shielded import Shielded
from ....errors import InfrastructureError, SandboxBroken
from ...launch import reap
from ...memory_file import memory_file
from ...pipes import PipeReader, write_to_pipe
from ...running import Output, RunningCommand
from ...wrapped_command import NOT_EXECUTABLE
from ..command import unfit
from ..engine import Engine
from ..exec_api import KILLED, check_present, wait_for_end
from .container import Confinement, Container, OutOfReach, find_container
from .order import Order
from .program import MONITOR, start_program

#: Bytes that each folder may hold, unless that makes them more than half of the memory: what they hold counts as used
#: by the container, and killing processes does not free it.
_LARGEST_FOLDER = 4 << 30

_CHUNK = 1 << 18  # bytes
_LONGEST_MESSAGE = 1 << 16

#: Seconds.
_START_TIMEOUT = 120.0
_KILL_TIMEOUT = 30.0


class PrivateCommand(RunningCommand):
    """A command that `monitor.py` runs. What it leaves running ends with its leader, and so do its folders."""

    def __init__(self, engine: Engine, container: str, stdout: Output, stderr: Output) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        #: Nothing of it is left, or there never was anything.
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._begun: asyncio.Future[None] = self._loop.create_future()
        self._engine = engine
        self._container = container
        self._outputs = (stdout, stderr)
        self._pipes: list[PipeReader] = []
        self._channel: socket.socket | None = None
        self._monitor: subprocess.Popen[bytes] | None = None
        self._diagnostics = -1
        self._tasks: set[asyncio.Task[None]] = set()
        self._feeding: asyncio.Task[None] | None = None
        self._ending = self._remains = False
        self._broken: Exception | None = None

    async def start(
        self,
        confinement: Confinement,
        folders: Sequence[str],
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        stdin: bytes | BinaryIO,
        user: str,
    ) -> None:
        """Start it, and return when it runs or has ended; call `kill` when it raises.

        `user` is a name or number, the image's own when it is empty. Raises OutOfReach, ContainerGone, and
        SandboxBroken when it is the container's files that keep the command from its folders.
        """
        if why := unfit([*argv, *(f"{key}={value}" for key, value in env.items())]):
            self._outputs[1].feed(why + b"\n")
            self.settle(NOT_EXECUTABLE)
            self.gone.set_result(None)
            return
        container = await self._engine.call(find_container, self._engine, self._container)
        try:
            self._launch(_order(confinement, container, folders, argv, cwd=cwd, env=env, user=user), stdin)
        except OSError as error:
            raise OutOfReach(f"a command cannot be started from outside of its container: {error}") from error
        either: list[asyncio.Future[Any]] = [self._begun, self.exited]
        await asyncio.wait(either, timeout=_START_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if self.exited.done():
            self.exited.result()
        elif not self._begun.done():
            raise InfrastructureError(f"a command did not start within {_START_TIMEOUT:g} seconds", kind="sandbox")

    def collect(self) -> None:
        """See `RunningCommand.collect`."""
        for pipe in self._pipes:
            pipe.drain()
        if self._broken is not None:
            raise self._broken

    def discard(self) -> None:
        """See `RunningCommand.discard`."""
        for pipe in self._pipes:
            pipe.discard()

    async def kill(self) -> None:
        """End it and all its descendants; return when they are gone. Raises InfrastructureError when that fails."""
        if self._monitor is None and not self.gone.done():
            self.gone.set_result(None)
        self._end()
        shielded = Shielded()
        if not await shielded.wait(self.gone, _KILL_TIMEOUT):
            assert self._monitor is not None
            self._remains = True
            self._monitor.kill()  # and its child with it
            await shielded.wait(self.gone)
        self.settle(KILLED)
        shielded.release()
        if self._remains:
            raise InfrastructureError("a command cannot be killed within its container", kind="sandbox")

    def fail(self, error: Exception) -> None:
        """Let `exited` raise `error`, unless the leader has ended already, and let go of it."""
        self.settle(error)
        self.close()

    def close(self) -> None:
        """Let go of its streams, and have it killed."""
        self._end()
        for pipe in self._pipes:
            pipe.close()

    def _end(self) -> None:
        self._ending = True
        if self._channel is not None:
            with contextlib.suppress(OSError):  # the monitor has ended
                self._channel.shutdown(socket.SHUT_WR)

    def _launch(self, order: Order, stdin: bytes | BinaryIO) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        passed = [theirs.detach()]
        try:
            self._diagnostics = memory_file()
            passed.append(memory_file(marshal.dumps(vars(order))))
            if stdin == b"":
                passed.append(os.open(os.devnull, os.O_RDONLY))
            else:
                source, target = os.pipe()
                passed.append(source)
                self._feeding = self._loop.create_task(self._feed(target, stdin), name="docker stdin")
                self._feeding.add_done_callback(lambda _: os.close(target))
            for output in self._outputs:
                pipe = PipeReader(self._loop, output.feed, failed=self._break_off, closed=lambda _: None)
                self._pipes.append(pipe)
                passed.append(pipe.write_fd)
            self._monitor = start_program(
                MONITOR, passed, stdout=self._diagnostics, stderr=self._diagnostics, pass_fds=passed
            )
        finally:
            for fd in passed:
                os.close(fd)
            if self._monitor is None:
                self._release()
        self._loop.add_reader(self._channel, self._hear)

    def _hear(self) -> None:
        assert self._channel is not None
        try:
            said = self._channel.recv(_LONGEST_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        letter, text = said[:1], said[1:].decode(errors="replace")
        if letter == b"B":
            self._begun.set_result(None)
            self.started = time.monotonic()
        elif letter == b"X":
            self._begin_task(self._exit(int(text)))
        elif letter == b"T":
            self._outputs[1].feed(f"hermes: another process has renamed or removed {text!r}\n".encode())
            self.settle(KILLED)
        elif letter == b"F":
            self.settle(SandboxBroken(f"a command cannot be given folders of its own: {text}"))
        elif letter == b"E":
            self._begin_task(self._explain(text))
        elif letter == b"N":
            self._remains = True
        else:
            self._loop.remove_reader(self._channel)
            self._begin_task(self._bury())

    async def _exit(self, code: int) -> None:
        if code == KILLED and not self._ending:
            try:  # perhaps along with all else
                await self._engine.call(wait_for_end, self._engine, self._container)
            except InfrastructureError as error:
                self.settle(error)
        self.settle(code)

    async def _explain(self, why: str) -> None:
        """The monitor could not start it: its container may be gone."""
        try:
            await self._engine.call(check_present, self._engine, self._container)
        except InfrastructureError as error:
            self.settle(error)
        self.settle(OutOfReach(f"a command cannot be started from outside of its container: {why}"))

    async def _bury(self) -> None:
        """The monitor has ended."""
        assert self._monitor is not None
        await self._loop.run_in_executor(None, reap, self._monitor)
        said = os.pread(self._diagnostics, _LONGEST_MESSAGE, 0).decode(errors="replace").strip()
        self._release()
        if self._ending:
            self.settle(KILLED)
        for task in self._tasks - {asyncio.current_task()}:
            await asyncio.wait([task])
        why = said.splitlines()[-1] if said else "it was killed"
        self.settle(OutOfReach(f"what watches over a command has ended: {why}"))
        self.gone.set_result(None)

    def _release(self) -> None:
        if self._feeding is not None:
            self._feeding.cancel()
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._diagnostics >= 0:
            os.close(self._diagnostics)
            self._diagnostics = -1

    def _break_off(self, error: Exception) -> None:
        """Its output cannot be passed on: nobody should wait for the rest."""
        self._broken = error
        self.settle(error)

    async def _feed(self, fd: int, stdin: bytes | BinaryIO) -> None:
        try:
            if isinstance(stdin, bytes):
                await write_to_pipe(fd, stdin)
            else:
                while data := await asyncio.to_thread(stdin.read, _CHUNK):
                    await write_to_pipe(fd, data)
        except BrokenPipeError:
            pass  # it reads no more
        except Exception as error:  # of the file that is read
            self.fail(error)

    def _begin_task(self, coro: Any) -> None:
        task = self._loop.create_task(coro, name="docker namespaces")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _order(
    confinement: Confinement,
    container: Container,
    folders: Sequence[str],
    argv: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    user: str,
) -> Order:
    memory = container.memory or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Order(
        argv=list(argv),
        env={**container.env, **env},
        cwd=posixpath.normpath(cwd),
        user=user or container.user,
        folders=list(folders),
        folder_size=min(_LARGEST_FOLDER, memory // 2 // len(folders)),
        init=container.init,
        init_started=container.init_started,
        namespaces=list(container.namespaces),
        control_groups=list(container.control_groups),
        oom_score_adj=container.oom_score_adj,
        capabilities=confinement.capabilities,
        mark=confinement.mark,
        no_new_privileges=confinement.no_new_privileges,
        filters=list(confinement.filters),
        profile=confinement.profile,
        limits=list(confinement.limits),
    )

"""One command in a container: from the exec that starts it to the end of its last descendant."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from ...core.one_line import first_line
from ...core.shielded import Shielded
from ...errors import InfrastructureError, SandboxBroken, SandboxLost
from ..running import Output
from ..wrapped_command import WrappedCommand
from .engine import Engine, NoAnswer
from .exec_api import (
    KILLED,
    ContainerDied,
    ContainerGone,
    OutOfControl,
    check_present,
    create_exec,
    exit_code,
    is_about_the_shell,
    run_plainly,
    wait_for_start,
)
from .exec_stream import Stream

#: Linux takes no single argument or variable of more: MAX_ARG_STRLEN of include/uapi/linux/binfmts.h, in bytes.
_LONGEST_ARGUMENT = 131072
_TOO_LARGE = b"arguments and environment are larger than the system allows"
_NO_ROOM = b"no process can be started: the sandbox has as many as it may have"

#: Those of shells that cannot fork: of dash and busybox, of bash.
_CANNOT_FORK = (2, 254)

#: What is above was a signal's doing.
_LAST_OF_ITS_OWN = 128

_CHUNK = 1 << 18  # bytes
_START_TIMEOUT = 120.0  # seconds
_KILL_PATIENCE = 60.0
_KILL_PAUSE = 0.1
#: Times that the engine is asked to start what kills a command.
_KILL_TRIES = 50
#: What an engine says of an exec that it could not start.
_NOT_STARTED = "unable to start container process"
_START_PATIENCE = 10.0

#: Seconds for which a command is started again and again that could not be, and between two tries: what ran before it
#: may be about to end.
_ROOM_PATIENCE = 10.0
_ROOM_PAUSE = 0.2

_BROKEN_SHELL = "the sandbox's shell, /bin/sh, cannot be run any more"


@dataclass(frozen=True)
class _Request:
    """What is to be started."""

    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    stdin: bytes | BinaryIO
    #: Where the input begins.
    position: int
    user: str


class ContainerCommand(WrappedCommand):
    """A command that an exec of the engine runs."""

    def __init__(
        self,
        engine: Engine,
        container: str,
        stdout: Output,
        stderr: Output,
        *,
        numbered: bool = True,
        alone: Callable[[], bool] = lambda: True,
        linked: Callable[[], bool] = lambda: True,
    ) -> None:
        """`alone` tells whether it is the only command: then nothing that could be killed keeps it from starting.

        `linked` tells whether other connections to the container stand.
        """
        super().__init__(stdout, stderr, numbered=numbered)
        self._engine = engine
        self._container = container
        self._alone = alone
        self._linked = linked
        self._stream: Stream | None = None
        self._exec = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._feeding: asyncio.Task[None] | None = None
        self._explaining: asyncio.Task[None] | None = None
        self._to_be_killed = False
        self._broken: OutOfControl | None = None
        self._first_try = 0.0

    async def start(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str], stdin: bytes | BinaryIO, user: str
    ) -> None:
        """Start it, and return when it runs or has ended.

        `user` is a name or number, the image's own when it is empty. Raises InfrastructureError when the engine cannot,
        and SandboxBroken when the container does not let it.
        """
        if why := unfit([*argv, *(f"{key}={value}" for key, value in env.items())]):
            self.refuse(why)
            return
        position = 0 if isinstance(stdin, bytes) else await asyncio.to_thread(stdin.tell)
        self._request = _Request(argv, cwd, env, stdin, position, user)
        self._first_try = time.monotonic()
        await self._launch()
        await asyncio.wait([self.begun], timeout=_START_TIMEOUT)
        if self.exited.done():
            self.exited.result()
        if self.begun.done():
            return
        if await self._engine.call(wait_for_start, self._engine, self._exec):
            self._broken = OutOfControl("something in the sandbox keeps the commands that are started from beginning")
            raise self._broken
        raise InfrastructureError(
            f"the Docker engine did not start a command within {_START_TIMEOUT:g} seconds", kind="sandbox"
        )

    async def kill(self) -> None:
        """End it and all its descendants; return when they are gone.

        Raises SandboxBroken when what runs in the container prevents that, however often it is called, and
        InfrastructureError when the engine fails.
        """
        if not self._exec:
            self.settle(KILLED)
            return
        if self._broken is not None:
            self.fail(self._broken)
            raise self._broken
        self._to_be_killed = True
        shielded = Shielded()
        if self._explaining is not None:  # and may start it once more
            await shielded.wait(self._explaining, _START_PATIENCE)
        if self._stream is not None:
            # What the engine is about to start cannot be found yet.
            await shielded.wait(self.begun, _START_PATIENCE)
        killing = asyncio.create_task(self._kill_descendants(), name="docker kill")
        await shielded.wait(killing)
        self.settle(KILLED)
        self.close()
        shielded.release()
        killing.result()

    async def _launch(self) -> None:
        request = self._request
        has_input = request.stdin != b""
        size = "none"
        if has_input:
            # Where the end of the input cannot be told, it must be known.
            half_close = self._engine.address.can_half_close
            size = "all" if half_close else str(await asyncio.to_thread(_remaining, request.stdin))
        self._exec = await self._engine.call(
            create_exec,
            self._engine,
            self._container,
            self.wrapped(request.argv, cwd=request.cwd, stdin=size),
            stdin=has_input,
            environment=dict(request.env),
            user=request.user,
        )
        out, err = self.marked
        try:
            stream = await self._engine.stream(
                f"/exec/{self._exec}/start", {"Detach": False, "Tty": False}, stdout=out.feed, stderr=err.feed
            )
        except InfrastructureError as error:
            if not isinstance(error, NoAnswer):
                await self._engine.call(check_present, self._engine, self._container)  # which says more
            raise
        self._stream = stream
        stream.ended.add_done_callback(self._stream_ended)
        if has_input:
            self._feeding = self._begin_task(self._feed(stream, request.stdin))

    async def _kill_descendants(self) -> None:
        if not self.begun.done():
            await self._engine.call(wait_for_start, self._engine, self._exec)
        # As root: what the command started may run as anybody.
        with contextlib.suppress(ContainerGone, ContainerDied):  # and so is what ran in it
            try:
                code, said = await self._run_killer()
            except NoAnswer:
                if not await self._engine.answers():
                    raise
                code, said = None, ""
            if is_about_the_shell(said):
                self._broken = OutOfControl(f"a command cannot be killed: {_BROKEN_SHELL}")
            elif code != 0:
                why = first_line(said) or "it does not end"
                self._broken = OutOfControl(f"a command cannot be killed within its container: {why}")
        if self._broken is not None:
            raise self._broken

    async def _run_killer(self) -> tuple[int | None, str]:
        """Run what kills the command. Where the container has no room, the engine does not get it started every time:
        its own helper has threads, which count there."""
        for _ in range(_KILL_TRIES):
            code, said = await run_plainly(
                self._engine, self._container, self.killer(), user="0", timeout=_KILL_PATIENCE
            )
            if code == 0 or _NOT_STARTED not in said or is_about_the_shell(said):
                break
            await asyncio.sleep(_KILL_PAUSE)
        return code, said

    def close(self) -> None:
        """See `WrappedCommand.close`."""
        for task in self._tasks:
            task.cancel()
        if self._stream is not None:
            self._stream.close()

    def _stream_ended(self, ended: asyncio.Future[None]) -> None:
        """The stream ended without the wrapper's word: it was killed, or the container or the engine is gone."""
        if self.exited.done():
            return
        error = ended.exception()
        if error is not None and not isinstance(error, ConnectionError):
            assert isinstance(error, Exception)
            self.settle(error)  # of where the output is sent to
            return
        for stream in self.marked:
            stream.finish()
        self._explaining = self._begin_task(self._explain_end())

    async def _explain_end(self) -> None:
        try:
            code = await self._engine.call(exit_code, self._engine, self._container, self._exec)
            if self.exited.done():
                return  # it was killed meanwhile
            if self.wrapper_runs:
                await self._explain_silence(code)
            else:
                await self._explain_no_beginning(self.early_output())
        except InfrastructureError as error:
            self.settle(error)

    async def _explain_silence(self, code: int | None) -> None:
        """The wrapper began, and did not say how the command ended."""
        if code in _CANNOT_FORK:
            await self._try_again("")
        elif code is not None and code > _LAST_OF_ITS_OWN:
            self.settle(code)
        elif self._linked():
            raise SandboxBroken("the sandbox's shell, /bin/sh, does not do any more what it is told")
        else:
            # The wrapper goes on, or ended as it should: its last words are lost, and perhaps output before them.
            raise SandboxLost("the connection to a command's streams was lost")

    async def _explain_no_beginning(self, said: str) -> None:
        if "argument list too long" in said:
            self.refuse(_TOO_LARGE)
        elif is_about_the_shell(said):
            # It was there, and worked, when the sandbox started.
            raise SandboxBroken(_BROKEN_SHELL)
        else:
            await self._try_again(first_line(said).rpartition(f"{_NOT_STARTED}: ")[2])

    async def _try_again(self, why: str) -> None:
        """Start it once more if it could not be started and another try may help. Raises SandboxBroken if none does."""
        await asyncio.sleep(_ROOM_PAUSE)
        if not self._alone() or self._to_be_killed:
            self.refuse(_NO_ROOM)
            return
        if time.monotonic() > self._first_try + _ROOM_PATIENCE:
            why = why or "there is no room for another process"
            raise SandboxBroken(f"commands cannot be started any more in the sandbox: {why}")
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.wait([self._feeding])
            if not isinstance(self._request.stdin, bytes):
                await asyncio.to_thread(self._request.stdin.seek, self._request.position)
        self.renew_streams()
        await self._launch()

    def _begin_task(self, coro: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(coro, name="docker exec")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _feed(self, stream: Stream, stdin: bytes | BinaryIO) -> None:
        try:
            if isinstance(stdin, bytes):
                for start in range(0, len(stdin), _CHUNK):
                    await stream.write(stdin[start : start + _CHUNK])
            else:
                while data := await asyncio.to_thread(stdin.read, _CHUNK):
                    await stream.write(data)
        except Exception as error:  # of the file that is read
            self.fail(error)
        else:
            stream.write_eof()


def unfit(texts: Sequence[str]) -> bytes | None:
    """Return why these cannot be arguments or variables of a command in a container, None when they can."""
    for text in texts:
        try:
            size = len(text.encode()) + 1
        except UnicodeEncodeError:
            return b"arguments and variables that are not UTF-8 cannot be passed to a container"
        if size > _LONGEST_ARGUMENT:
            return _TOO_LARGE
        if "\0" in text or text.startswith("="):
            return b"arguments cannot hold a NUL, and variables need a name"
    return None


def _remaining(stdin: bytes | BinaryIO) -> int:
    if isinstance(stdin, bytes):
        return len(stdin)
    here = stdin.tell()
    size = stdin.seek(0, os.SEEK_END) - here
    stdin.seek(here)
    return size

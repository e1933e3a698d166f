"""One command in a container: from the exec that starts it to the end of its last descendant."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from ...core.shielded import Shielded
from ...errors import InfrastructureError
from ..running import Output
from ..wrapped_command import WrappedCommand
from .engine import Engine, first_line
from .exec_api import KILLED, ContainerGone, create_exec, exit_code, is_about_the_shell, run_plainly, wait_for_start
from .exec_stream import Stream

#: Linux takes no single argument or variable of more: MAX_ARG_STRLEN of include/uapi/linux/binfmts.h, in bytes.
_LONGEST_ARGUMENT = 131072
_TOO_LARGE = b"arguments and environment are larger than the system allows"
_NO_ROOM = b"no process can be started: the sandbox has as many as it may have"

#: Exit code of what cannot be found, as shells have it.
_NOT_FOUND = 127

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

_logger = logging.getLogger(__name__)


class ContainerCommand(WrappedCommand):
    """A command that an exec of the engine runs."""

    def __init__(
        self, engine: Engine, container: str, stdout: Output, stderr: Output, *, numbered: bool = True
    ) -> None:
        super().__init__(stdout, stderr, numbered=numbered)
        self._engine = engine
        self._container = container
        self._stream: Stream | None = None
        self._exec = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str], stdin: bytes | BinaryIO, user: str
    ) -> None:
        """Start it, and return when it runs or has ended. Raises InfrastructureError when the engine cannot.

        `user` is a name or number, the image's own when it is empty.
        """
        if why := unfit([*argv, *(f"{key}={value}" for key, value in env.items())]):
            self.refuse(why)
            return
        has_input = stdin != b""
        size = "none"
        if has_input:
            # Where the end of the input cannot be told, it must be known.
            size = "all" if self._engine.address.can_half_close else str(await asyncio.to_thread(_remaining, stdin))
        wrapped = self.wrapped(argv, cwd=cwd, stdin=size)
        self._exec = await self._engine.call(
            create_exec, self._engine, self._container, wrapped, stdin=has_input, environment=dict(env), user=user
        )
        out, err = self.marked
        self._stream = await self._engine.stream(
            f"/exec/{self._exec}/start", {"Detach": False, "Tty": False}, stdout=out.feed, stderr=err.feed
        )
        self._stream.ended.add_done_callback(self._stream_ended)
        if has_input:
            self._begin_task(self._feed(self._stream, stdin))
        await asyncio.wait([self.begun], timeout=_START_TIMEOUT)
        if not self.begun.done():
            raise InfrastructureError(
                f"the Docker engine did not start a command within {_START_TIMEOUT:g} seconds", kind="sandbox"
            )

    async def kill(self) -> None:
        """End it and all its descendants; return when they are gone. Raises InfrastructureError when that fails."""
        if not self._exec:
            self.settle(KILLED)
            return
        shielded = Shielded()
        if self._stream is not None:
            # What the engine is about to start cannot be found yet.
            await shielded.wait(self.begun, _START_PATIENCE)
        killing = asyncio.create_task(self._kill_descendants(), name="docker kill")
        await shielded.wait(killing)
        self.settle(KILLED)
        self.close()
        shielded.release()
        killing.result()

    async def _kill_descendants(self) -> None:
        if not self.begun.done():
            await self._engine.call(wait_for_start, self._engine, self._exec)
        # As root: what the command started may run as anybody.
        with contextlib.suppress(ContainerGone):  # and so is what ran in it
            code, said = await self._run_killer()
            if is_about_the_shell(said):
                # What the agent broke, the end of its container repairs.
                _logger.warning("a command still runs although it should have ended: %s", first_line(said))
            elif code != 0:
                raise InfrastructureError(
                    f"a command cannot be killed within its container: {first_line(said) or 'it does not end'}",
                    kind="sandbox",
                )

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
        self._begin_task(self._explain_end())

    async def _explain_end(self) -> None:
        try:
            code = await self._engine.call(exit_code, self._engine, self._container, self._exec)
        except InfrastructureError as error:
            self.settle(error)
            return
        if self.begun.done() and self.begun.result():
            if code in _CANNOT_FORK:
                self.refuse(_NO_ROOM)
            elif code is None or code <= _LAST_OF_ITS_OWN:
                # The wrapper goes on, or ended as it should: its last words are lost, and perhaps output before them.
                lost = "the connection to a command's streams was lost"
                self.settle(InfrastructureError(lost, kind="sandbox"))
            else:
                self.settle(code)
            return
        said = self.early_output()
        if "argument list too long" in said:
            self.refuse(_TOO_LARGE)
        elif is_about_the_shell(said):
            # It was there, and worked, when the sandbox started.
            self.refuse(b"/bin/sh cannot be run any more", _NOT_FOUND)
        elif _NOT_STARTED in said:
            self.refuse(_NO_ROOM)
        else:
            why = first_line(said)
            self.settle(InfrastructureError(f"the Docker engine cannot start a command: {why}", kind="sandbox"))

    def _begin_task(self, coro: Any) -> None:
        task = asyncio.create_task(coro, name="docker exec")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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

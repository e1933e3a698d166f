"""The life of a container: started, ended, started anew and removed, whatever runs in it.

An engine may wait for a container without end: Docker 20.10 starts nothing, pauses nothing and ends nothing in one in
which the start of a command hangs, and what runs in a container can stop a command before it has started. Its main
process heeds the lease all the same, without the engine's help, and what the engine waited for has then ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from ...core.one_line import first_line
from ...errors import SandboxBroken
from .container import NotStarted, remove_container, start_container, stop_container
from .engine import Engine, NoAnswer
from .exec_api import OutOfControl
from .lease import Lease

#: Seconds.
_START_TIMEOUT = 120.0
_END_TIMEOUT = 10.0


class ContainerLife:
    """One container that an engine has made. All methods belong to one loop."""

    def __init__(self, engine: Engine, container: str) -> None:
        """`container` is its id."""
        self.engine = engine
        self.container = container
        #: Whether it was ended, and not started anew.
        self.ended = False
        #: Why it was let end, if it was for what it did.
        self.broken = ""
        self._lease: Lease | None = None
        self._removal: asyncio.Future[None] | None = None

    async def begin(self) -> list[str]:
        """Start it, and return what its main process says of itself: see lease.sh. Raises NotStarted."""
        if self._lease is not None:
            self._lease.stream.close()
        # Attached before it starts: its standard input, which this process holds, is what it lives by.
        lease = self._lease = await Lease.attach(self.engine, self.container)
        await self.engine.call(start_container, self.engine, self.container)
        self.ended, self.broken = False, ""
        if (said := await lease.answer(_START_TIMEOUT)) is None:
            raise NotStarted(lease.complaints or "its shell, /bin/sh, does not answer")
        return said

    async def begin_again(self) -> None:
        """End all that runs in it, and start it anew. Raises SandboxBroken and ContainerGone."""
        await self.end()
        try:
            await self.begin()
        except NotStarted as error:
            raise SandboxBroken(f"the sandbox's container does not start again: {first_line(str(error))}") from error

    async def end(self) -> None:
        """End all that runs in it; its files stay. Raises ContainerGone."""
        await self.let_end()
        await self.engine.call(stop_container, self.engine, self.container)
        self.ended = True

    async def let_end(self) -> None:
        """Let its main process end, which needs no engine. Returns when it has, or does not."""
        if self._lease is not None:
            await self._lease.end(_END_TIMEOUT)

    def remove(self) -> asyncio.Future[None]:
        """Begin to remove it, once; return what tells when it is gone."""
        if self._removal is None:
            self._removal = asyncio.wrap_future(self.engine.submit(remove_container, self.engine, self.container))
            self._removal.add_done_callback(self._removed)
            if self._lease is not None:
                self._lease.ask_to_end()
        return self._removal

    def _removed(self, removal: asyncio.Future[None]) -> None:
        if not removal.cancelled() and removal.exception() is not None:
            self.engine.leave(self.container)

    def linked(self) -> bool:
        """Whether the connection to its main process stands."""
        return self._lease is not None and not self._lease.stream.ended.done()

    def release(self) -> asyncio.Future[None]:
        """Let go of its main process, which then ends; return what tells when nothing is held of it any more."""
        if self._lease is not None:
            self._lease.stream.close()
            return self._lease.stream.closed
        nothing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nothing.set_result(None)
        return nothing

    @contextlib.asynccontextmanager
    async def blamed(self) -> AsyncIterator[None]:
        """Let the container end when it gets out of control, and raise SandboxBroken when its engine waits for it."""
        try:
            yield
        except OutOfControl as error:
            # What runs on takes others' time, and may keep the engine waiting next.
            self.broken = str(error)
            await self.let_end()
            raise
        except NoAnswer as error:
            if not await self.engine.answers():
                raise
            self.broken = "the Docker engine waits without end for what is stopped in the sandbox"
            await self.let_end()
            raise SandboxBroken(self.broken) from error

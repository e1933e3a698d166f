"""Where tools act: one sandbox, a shell in it, and what runs there in the background."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ..background import default_loop, on_loop
from ..sandbox.protocol import Process, Sandbox
from ..sandbox.shell import Shell
from .lazy_sandbox import LazySandbox, MakeSandbox, close_all

#: Seconds for one terminal command unless the benchmark or the model says otherwise.
TERMINAL_TIMEOUT = 120.0

#: Bytes of one command's output that a model gets to see.
OUTPUT_LIMIT = 50_000


@dataclass(frozen=True)
class BackgroundCommand:
    """A command a tool started in the background."""

    command: str
    process: Process


class SandboxSession:
    """What the tools of one attempt act on. Nothing is started before it is used.

    `make_sandbox` is called once for each sandbox that is started. The home loop, on which everything happens, is
    `loop`, or the one running when this is made, or else the process's default loop.
    """

    def __init__(
        self,
        make_sandbox: MakeSandbox,
        *,
        backend: str = "",
        terminal_timeout: float = TERMINAL_TIMEOUT,
        output_limit: int = OUTPUT_LIMIT,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        #: Name of the backend, for records.
        self.backend = backend
        #: Seconds.
        self.terminal_timeout = terminal_timeout
        #: Bytes.
        self.output_limit = output_limit
        #: Commands in the background by their id, in the order of their start.
        self.background: dict[str, BackgroundCommand] = {}
        self._loop = loop or asyncio._get_running_loop()
        self._make = make_sandbox
        self._lazy = LazySandbox(make_sandbox)
        #: Further sandboxes of the same kind; shared by the sessions beside this one.
        self._others: list[LazySandbox] = []
        self._shell: Shell | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The home loop."""
        if self._loop is None:
            self._loop = default_loop().loop
        return self._loop

    def settle(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make `loop` the home of a session that has none yet. Raises ValueError if another one is."""
        if self._loop not in (None, loop):
            raise ValueError("this session belongs to another event loop already")
        self._loop = loop

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox. Raises RuntimeError before `start` was called."""
        return self._lazy.sandbox

    @property
    def closed(self) -> bool:
        return self._lazy.closed

    async def start(self) -> Sandbox:
        """Start the sandbox unless it runs, and return it.

        Raises Unsupported or InfrastructureError when it cannot start, UsageError once closed.
        """
        return await on_loop(self.loop, self._lazy.started())

    async def shell(self) -> Shell:
        """Return the shell in which commands of this session run. Raises what `start` raises."""
        sandbox = await self._lazy.started()
        if self._shell is None:
            self._shell = Shell(sandbox)
        return self._shell

    def beside(self) -> SandboxSession:
        """Return a session in the same sandbox with a shell of its own: neither sees the other's cwd, exported
        variables or functions. Closing either closes both.
        """
        _ = self.loop  # settled before there are two of them
        other = copy.copy(self)
        other._shell = None
        return other

    @asynccontextmanager
    async def another(self) -> AsyncIterator[Sandbox]:
        """Start a further sandbox, as this session's own was when it started, and close it at the end.

        Must be used on the home loop. Raises what `start` raises.
        """
        other = LazySandbox(self._make)
        self._others.append(other)
        try:
            yield await other.started()
        finally:
            await other.close()
            self._others.remove(other)

    async def close(self) -> None:
        """Kill what runs and release the sandbox. May be called twice, also while it starts; finishes even when
        cancelled.
        """
        sandboxes = (self._lazy, *self._others)
        cancellation: asyncio.CancelledError | None = None
        # Again, since what is cancelled before its first step on another loop never begins.
        while cancellation is None or not all(sandbox.released for sandbox in sandboxes):
            try:
                await on_loop(self.loop, close_all(sandboxes))
                break
            except asyncio.CancelledError as error:
                cancellation = error
        if cancellation is not None:
            raise cancellation

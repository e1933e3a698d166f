"""Commands of backends that carry nothing but streams, by way of the scripts around them: wrap.sh and kill.sh."""

from __future__ import annotations

import asyncio
import functools
import random
import secrets
import time
from abc import abstractmethod
from collections.abc import Sequence

from .running import Output, RunningCommand
from .scripts import shell_script
from .stream_markers import MarkedStream

#: Exit code of what cannot be executed, as shells have it.
NOT_EXECUTABLE = 126

#: Numbers that tell commands apart; see wrap.sh. Ordinary limits are far from these.
_NUMBERS = (1 << 40, 1 << 50)


class WrappedCommand(RunningCommand):
    """A command: `exited` is its leader's exit code, once all that the leader wrote has arrived.

    Whoever starts `wrapped(…)` feeds both of its streams to `marked`, stdout first.
    """

    def __init__(self, stdout: Output, stderr: Output, *, numbered: bool = True) -> None:
        """`numbered` is whether commands can be told apart by a number there; see lease.sh."""
        super().__init__()
        #: Whether it runs, or will never.
        self.begun: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._outputs = (stdout, stderr)
        self._numbered = numbered
        self._marker = f"hermes:{secrets.token_hex(8)}:"
        self._number = random.randrange(*_NUMBERS)
        self.renew_streams()

    def renew_streams(self) -> None:
        """Expect a wrapper's streams, the first or those of another try. Nothing of the command has run yet."""
        #: Whether the wrapper has said that it begins.
        self.wrapper_runs = False
        self._ends_to_come = 2
        self.marked = [
            MarkedStream(self._marker, functools.partial(self._take, sink), begun=self._begin, ended=self._end)
            for sink in self._outputs
        ]
        #: What came before it began, which may be others' words rather than a command's.
        self._early: list[tuple[Output, bytes]] = []

    @abstractmethod
    def close(self) -> None:
        """Let go of the streams; the command goes on without."""

    def wrapped(self, argv: Sequence[str], *, cwd: str, stdin: str) -> list[str]:
        """Return what to start. `stdin` is how many bytes there are; `all`: to its end, `none`: there is none."""
        return ["/bin/sh", "-c", shell_script("wrap"), "sh", self._marker, str(self._number), cwd, stdin, *argv]

    def killer(self) -> list[str]:
        """Return the command, for root, that kills this one and its descendants, and ends when they are gone."""
        marker = "" if self._numbered else self._marker
        return ["/bin/sh", "-c", shell_script("kill"), "sh", str(self._number), marker]

    def early_output(self) -> str:
        return b"".join(data for _, data in self._early).decode(errors="replace")

    def discard(self) -> None:
        """See `RunningCommand.discard`."""
        for stream in self.marked:
            stream.mute()

    def fail(self, error: Exception) -> None:
        """Let `exited` raise `error`, unless the leader has ended already, and let go of it."""
        self.settle(error)
        self.close()

    def refuse(self, why: bytes, code: int = NOT_EXECUTABLE) -> None:
        """Let it end with `code`, having written `why` to stderr."""
        self._outputs[1].feed(why + b"\n")
        self.settle(code)

    def settle(self, outcome: int | Exception) -> None:
        """See `RunningCommand.settle`."""
        if not self.begun.done():
            self.begun.set_result(False)
        super().settle(outcome)

    def _take(self, output: Output, data: bytes) -> None:
        if self.wrapper_runs:
            output.feed(data)
        else:
            self._early.append((output, data))

    def _begin(self) -> None:
        if self.wrapper_runs:
            return
        self.wrapper_runs = True
        for output, data in self._early:
            output.feed(data)
        self._early.clear()
        if not self.begun.done():
            self.started = time.monotonic()
            self.begun.set_result(True)

    def _end(self, code: int) -> None:
        self._ends_to_come -= 1
        if self._ends_to_come == 0:
            self.settle(code)
            self.close()

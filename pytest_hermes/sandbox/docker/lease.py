"""What a container lives by: the standard input of its main process, lease.sh, which this process holds open."""

from __future__ import annotations

import asyncio

from ..output import HeadTail
from .engine import Engine
from .exec_stream import Stream

#: Bytes of what a main process may say of itself, and what it ends that with.
_LONGEST_ANSWER = 1 << 16
_END = b"\0."

#: What it ends at, whatever is missing of it, and seconds between two times.
_ENDING = b"x\n" * 64
_ENDING_PAUSE = 0.1


class Lease:
    """The streams of a container's main process. Closing them lets the container end."""

    def __init__(self) -> None:
        self._stream: Stream | None = None
        self._said = bytearray()
        self._complaints = HeadTail(2000)
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def attach(cls, engine: Engine, container: str) -> Lease:
        """Return the lease of a container, which need not run yet. Raises InfrastructureError."""
        lease = cls()
        query = "stream=1&stdin=1&stdout=1&stderr=1"
        lease._stream = await engine.stream(
            f"/containers/{container}/attach?{query}", None, stdout=lease._hear, stderr=lease._complaints.feed
        )

        def ended(stream: asyncio.Future[None]) -> None:
            if stream.exception() is not None:
                # The connection broke, at which the container ends, and not because of what runs in it.
                engine.deaths.forget(container)

        lease._stream.ended.add_done_callback(ended)
        return lease

    @property
    def stream(self) -> Stream:
        assert self._stream is not None
        return self._stream

    @property
    def complaints(self) -> str:
        """What the main process, or the engine in its place, wrote to stderr."""
        return self._complaints.value().decode(errors="replace")

    async def answer(self, timeout: float) -> list[str] | None:
        """Ask the main process where it is, once, and return the fields of its answer; see lease.sh.

        None when it ended, or did not answer within `timeout` seconds.
        """
        await self.stream.write(b"\n")
        await asyncio.wait([self._answered, self.stream.ended], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not self._said.endswith(_END):
            return None
        return self._said.removesuffix(_END).decode(errors="surrogateescape").split("\0")

    def ask_to_end(self) -> None:
        """Tell the main process to end, and all in the container with it."""
        self.stream.send(_ENDING)

    async def end(self, timeout: float) -> None:
        """End the container; return when it has ended, or after `timeout` seconds.

        It needs no engine, which waits for some containers without end: for one that keeps what the engine starts in it
        from running, say.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while not self.stream.ended.done() and loop.time() < end:
            # Again and again: what runs in the container can take some of it away.
            self.ask_to_end()
            await asyncio.wait([self.stream.ended], timeout=_ENDING_PAUSE)

    def _hear(self, data: bytes) -> None:
        if self._answered.done():
            return  # what others write to its terminal later, without end perhaps, is nobody's
        self._said += data
        if self._said.endswith(_END) or len(self._said) > _LONGEST_ANSWER:
            self._answered.set_result(None)

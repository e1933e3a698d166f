"""What the code of one rollout prints and logs, kept apart from every other rollout's.

All rollouts share one thread, so a stream cannot tell whose a text is; a context variable can, since every task of a
rollout inherits it.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TextIO

from ..sandbox.output import HeadTail

#: Bytes of each stream that are kept of a rollout.
LIMIT = 200_000


@dataclass
class CapturedOutput:
    """The texts of one rollout, each with its middle left out when it is long."""

    stdout: HeadTail = field(default_factory=lambda: HeadTail(LIMIT))
    stderr: HeadTail = field(default_factory=lambda: HeadTail(LIMIT))
    log: HeadTail = field(default_factory=lambda: HeadTail(LIMIT))

    def texts(self) -> dict[str, str]:
        """Return what there is, by name: `stdout`, `stderr`, `log`."""
        kept = {"stdout": self.stdout, "stderr": self.stderr, "log": self.log}
        return {name: text.value().decode(errors="replace") for name, text in kept.items() if text.total}


#: Whose rollout the running code belongs to; None outside of any.
CURRENT: ContextVar[CapturedOutput | None] = ContextVar("hermes_captured_output", default=None)


class DivertedStream:
    """Sends what a rollout writes to `stream` into its CapturedOutput, by another `write` until `restore`.

    The stream object stays: whoever captures output swaps such objects all the time, and code holds on to them.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._write = stream.write

    def divert(self) -> bool:
        """Return whether it could be done: a stream without attributes of its own cannot be diverted."""
        try:
            self._stream.write = self._diverted  # type: ignore[method-assign]
        except AttributeError:
            return False
        return True

    def restore(self) -> None:
        if self._stream.__dict__.get("write") == self._diverted:
            del self._stream.__dict__["write"]

    def _diverted(self, text: str, /) -> int:
        captured = CURRENT.get()
        if captured is None:
            return self._write(text)
        kept: HeadTail = getattr(captured, self._name)
        kept.feed(text.encode(errors="replace"))
        return len(text)


class RolloutLogHandler(logging.Handler):
    """Adds a rollout's log records to its CapturedOutput; records of other code are none of its business."""

    def emit(self, record: logging.LogRecord) -> None:
        captured = CURRENT.get()
        if captured is not None:
            captured.log.feed((self.format(record) + "\n").encode(errors="replace"))


def of_no_rollout(record: logging.LogRecord) -> bool:
    """A filter for all other handlers: the record was not made by a rollout's code."""
    return CURRENT.get() is None

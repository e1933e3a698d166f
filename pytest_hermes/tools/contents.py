"""Reads and writes files inside the sandbox: a window of lines for a model, whole ones for the other tools."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from .paths import run_script
from .session import SandboxSession
from .tool import ToolProblem

#: Bytes of the largest file that is read as a whole.
WHOLE_LIMIT = 10_000_000


@dataclass(frozen=True)
class Window:
    """Some lines of a file."""

    data: bytes
    total_lines: int
    total_bytes: int
    #: The lines asked for are longer than the byte limit; `data` is their beginning.
    cut: bool

    @property
    def lines(self) -> int:
        return self.data.count(b"\n") + (not self.data.endswith(b"\n") and bool(self.data))


async def read_window(session: SandboxSession, path: str, offset: int, limit: int, max_bytes: int) -> Window:
    """Return at most `limit` lines from line `offset` (1 is the first), and at most `max_bytes` of them.

    Lines end with `\\n` only. Raises ToolProblem.
    """
    output = await run_script(session, "read_window", path, offset, limit, max_bytes + 1, max_output=max_bytes + 200)
    header, _, data = output.partition(b"\n")
    lines, size = (int(number) for number in header.split())
    return Window(data[:max_bytes], lines, size, len(data) > max_bytes)


async def read_whole(session: SandboxSession, path: str, limit: int = WHOLE_LIMIT) -> bytes:
    """Return all of a file. Raises ToolProblem, also when it has more than `limit` bytes."""
    data = await run_script(session, "read_whole", path, limit + 1, max_output=limit + 2)
    if len(data) > limit:
        raise ToolProblem(f"{path!r}: the file has more than {limit} bytes")
    return data


async def write_whole(session: SandboxSession, path: str, data: bytes) -> bool:
    """Make `data` the content of a file, with its parent folders if need be; return whether the file is new.

    Raises ToolProblem.
    """
    return (await run_script(session, "write", path, len(data), stdin=data)).strip() == b"1"


def as_text(data: bytes, path: str, *, cut: bool = False) -> str:
    """Return `data` as text, with U+FFFD for what is not UTF-8; with `cut`, without half a character at its end.

    Raises ToolProblem for binary data, which is what contains NUL.
    """
    if b"\0" in data:
        raise ToolProblem(f"{path!r}: it is a binary file")
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data, final=not cut)

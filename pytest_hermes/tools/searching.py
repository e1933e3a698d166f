"""Searches inside the sandbox: lines by regular expression, files by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..sandbox.scripts import shell_script
from .paths import run_script
from .session import SandboxSession

#: Bytes of a line that a match shows.
_LINE = 500


@dataclass(frozen=True)
class Found:
    """What a search found, in the order of the files' names."""

    #: For lines: `path`, `line` (from 1) and `text`; for files: their paths.
    matches: list[Any]
    #: There are more than were asked for.
    more: bool


async def find_lines(session: SandboxSession, pattern: str, path: str, file_glob: str | None, limit: int) -> Found:
    """Return at most `limit` lines below `path` that match `pattern`, as grep -E understands it.

    Binary files are left out. Raises ToolProblem, also for a pattern that is none.
    """
    room = (limit + 1) * (_LINE + 300) + 8192
    output = await run_script(
        session, "search", path, room, "", file_glob or "",
        shell_script("search_lines", __package__), pattern, limit + 1, _LINE,
        max_output=room + 1024,
    )  # fmt: skip
    matches: list[dict[str, Any]] = []
    *pieces, rest = output.split(b"\0")
    if len(pieces) % 2:  # the end of the room came within the lines of a file
        pieces.append(rest.rpartition(b"\n")[0])
    for name, lines in zip(pieces[::2], pieces[1::2], strict=True):
        for line in lines.split(b"\n"):
            number, colon, text = line.partition(b":")
            if colon:
                matches.append({"path": _shown(name), "line": int(number), "text": _text(text)})
    return Found(matches[:limit], len(matches) > limit or len(output) >= room)


async def find_files(session: SandboxSession, pattern: str, path: str, file_glob: str | None, limit: int) -> Found:
    """Return at most `limit` files below `path` whose name matches the glob `pattern`.

    A pattern without wildcards matches any part of the name. Raises ToolProblem.
    """
    room = (limit + 1) * 1024
    glob = pattern if any(character in pattern for character in "*?[") else f"*{pattern}*"
    output = await run_script(session, "search", path, room, glob, file_glob or "", max_output=room + 1024)
    *names, _ = output.split(b"\0")
    return Found([_shown(name) for name in names[:limit]], len(names) > limit or len(output) >= room)


def _shown(name: bytes) -> str:
    return _text(re.sub(rb"\A(\./)+", b"", name))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")

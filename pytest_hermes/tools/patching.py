"""Find and replace in the bytes of a file, with errors that tell a model how to find what it meant."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from .tool import ToolProblem

#: Lines up to which a close one is looked for: the search compares with each.
_CLOSE_LINES = 5000


@dataclass(frozen=True)
class Patched:
    data: bytes
    replacements: int
    #: Line of the first replacement, from 1.
    first_line: int


def replace(data: bytes, old: str, new: str, *, replace_all: bool) -> Patched:
    """Return `data` with `old` replaced by `new`, once, or everywhere with `replace_all`.

    Works on bytes, so that what is not UTF-8 around it stays as it is. In a file with CRLF line ends, an `old`
    with plain ones matches as well. Raises ToolProblem when there is no match, or more than one to choose from.
    """
    if old == new:
        raise ToolProblem("old_string and new_string are the same, so there is nothing to change")
    find, put = old.encode(), new.encode()
    if find not in data and b"\r\n" in data:
        find, put = _with_crlf(find), _with_crlf(put)
    first = data.find(find)
    if first < 0:
        raise ToolProblem(f"old_string is not in the file{_closest(data, old)}")
    if replace_all:
        return Patched(data.replace(find, put), data.count(find), _line(data, first))
    if data.find(find, first + 1) >= 0:
        lines = [str(_line(data, position)) for position in _positions(data, find)]
        shown = ", ".join(lines[:10]) + (", …" if len(lines) > 10 else "")
        raise ToolProblem(
            f"old_string is in the file {len(lines)} times (lines {shown}); "
            "include more lines until it is unique, or set replace_all=true"
        )
    return Patched(data[:first] + put + data[first + len(find) :], 1, _line(data, first))


def _positions(data: bytes, find: bytes) -> list[int]:
    positions = []
    position = data.find(find)
    while position >= 0:
        positions.append(position)
        position = data.find(find, position + 1)
    return positions


def _line(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


def _with_crlf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _closest(data: bytes, old: str) -> str:
    wanted = next((line.strip() for line in old.splitlines() if line.strip()), "")
    lines = data.decode("utf-8", "replace").split("\n")
    if not wanted or len(lines) > _CLOSE_LINES:
        return ""
    stripped = [line.strip()[:500] for line in lines]
    close = difflib.get_close_matches(wanted[:500], stripped, n=1, cutoff=0.6)
    if not close:
        return ""
    index = stripped.index(close[0])
    return f"; the closest line is {index + 1}: {lines[index].rstrip()[:500]!r}"

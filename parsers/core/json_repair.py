"""Mending what models get wrong in JSON: single quotes, trailing commas, raw newlines in strings.

Only on request: a server in front of a user rejects these, so by default a reward must not see them as calls.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SINGLE_QUOTES = "single quotes"
TRAILING_COMMA = "trailing comma"
RAW_NEWLINE = "raw newline in a string"
STRINGIFIED = "arguments given as a string"

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<double>"(?:[^"\\]+|\\.)*+")
      | (?P<single>'(?:[^'\\]+|\\.)*+')
      | (?P<open>[\[{])
      | (?P<close>[\]}])
      | (?P<comma>,)
      | (?P<colon>:)
      | (?P<word>[-+.\w]+)""",
    re.VERBOSE | re.DOTALL,
)
_BEGINS_VALUE = frozenset({"double", "single", "open", "word"})
_ENDS_VALUE = frozenset({"double", "single", "close", "word"})
_CONTROL = re.compile(r"[\x00-\x1f]")
_IN_SINGLE_QUOTES = re.compile(r"\\.|\"", re.DOTALL)


class Mended(NamedTuple):
    """Text that is JSON but for control characters in strings, where its source ended, what was mended."""

    text: str
    end: int
    repairs: tuple[str, ...]


def repaired_json(text: str, start: int, *, max_depth: int) -> Mended | None:
    """The object or array that begins at `start`, rewritten, or None if it does not close."""
    repairs: dict[str, None] = {}
    written: list[str] = []
    before, last = "", ""
    depth = 0
    at = start
    while token := _TOKEN.match(text, at):
        kind, piece = token.lastgroup or "", token[0]
        at = token.end()
        if last in _ENDS_VALUE and kind in _BEGINS_VALUE:
            # No mending makes JSON of this, and in text that only looks like JSON it comes early.
            return None
        if kind in ("double", "single") and _CONTROL.search(piece):
            repairs[RAW_NEWLINE] = None
        if kind == "single":
            repairs[SINGLE_QUOTES] = None
            piece = _in_double_quotes(piece)
        elif kind == "open":
            depth += 1
            if depth > max_depth:
                return None
        elif kind == "close":
            depth -= 1
            if last == "comma" and before in _ENDS_VALUE:
                repairs[TRAILING_COMMA] = None
                written[_last_comma(written)] = ""
        written.append(piece)
        if depth == 0:
            return Mended("".join(written), at, tuple(repairs))
        if kind != "space":
            before, last = last, kind
    return None


def _in_double_quotes(piece: str) -> str:
    def swap(found: re.Match[str]) -> str:
        return {"\\'": "'", '"': '\\"'}.get(found[0], found[0])

    return f'"{_IN_SINGLE_QUOTES.sub(swap, piece[1:-1])}"'


def _last_comma(written: list[str]) -> int:
    # Only white space can stand between the closer and the comma: the step back is short.
    return next(index for index in range(len(written) - 1, -1, -1) if written[index] == ",")

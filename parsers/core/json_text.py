"""Reading JSON objects out of the middle of a text, from many starting positions, in linear time.

`json.JSONDecoder.raw_decode` alone does not do: it recurses once a level, so a text of two thousand nested
`{"name": ` raises RecursionError, and tried at each of them it reads the text two thousand times. Here
the decoder is trusted until it first fails in a text. From then on every bracket is matched once for the
whole text, and only an object that closes within `MAX_DEPTH` is handed to the decoder.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple, NoReturn

from .json_repair import repaired_json

MAX_DEPTH = 128
"""Levels of nesting an object may have and still be read; real arguments have fewer than ten."""

# Everything up to the next bracket outside a string. It stops, too, at what no JSON has outside a string:
# a backslash, or a quote that opens a string which a raw control character or the end cuts off.
_RUN = re.compile(r'(?:[^"\[\]{}\\]+|"(?:[^"\\\x00-\x1f]+|\\.)*+")*+')
_OPENER_OF = {"}": "{", "]": "["}
_UNCLOSED = -1


class Json(NamedTuple):
    """A value, where its text ends, and what had to be mended to read it (nothing, if it was strict)."""

    value: Any
    end: int
    repairs: tuple[str, ...] = ()


def finite(literal: str) -> float:
    """The number a literal stands for; raises ValueError if it is too large to be one."""
    number = float(literal)
    if math.isinf(number):
        raise ValueError(f"{literal} is too large for a JSON number")
    return number


def _no_constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not JSON")


_STRICT = json.JSONDecoder(parse_float=finite, parse_constant=_no_constant)
_CONTROLS_ALLOWED = json.JSONDecoder(parse_float=finite, parse_constant=_no_constant, strict=False)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def dumps(value: Any) -> str:
    """`value` as strict JSON: key order kept, unicode as it is.

    A lone surrogate, which a model can write as an escape but UTF-8 cannot carry, stays escaped.
    Raises ValueError on NaN and infinities.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def loads(text: str, *, repair: bool = False) -> Json | None:
    """The object or array that `text` is as a whole, or None."""
    start = len(text) - len(text.lstrip(" \t\r\n"))
    found = JsonText(text, repair=repair).value_at(start)
    return found if found is not None and not text[found.end :].strip(" \t\r\n") else None


def loads_any(text: str, *, repair: bool = False) -> Json | None:
    """The value of any kind that `text` is as a whole, or None."""
    bare = text.strip(" \t\r\n")
    if bare.startswith(("{", "[")):
        return loads(bare, repair=repair)
    try:
        return Json(_STRICT.decode(bare), len(text))
    except ValueError:
        return None


def _shallow(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return True
    return False


class JsonText:
    """One text whose JSON objects are read from positions that the caller names."""

    def __init__(self, text: str, *, repair: bool = False) -> None:
        self._text = text
        self._repair = repair
        # bracket -> (behind its closer or _UNCLOSED, levels of nesting from it on).
        # A scan that meets a bracket of an earlier scan takes its answer, and two scans that disagree on what
        # is a string stay apart for good, so all scans together pass over the text twice at the most.
        self._matched: dict[int, tuple[int, int]] = {}
        self._broken_until = 0
        self._failed = False

    def value_at(self, start: int) -> Json | None:
        """The object or array that begins at `start`, or None where there is none, whole and valid."""
        if not self._text.startswith(("{", "["), start):
            return None
        found = None if self._failed else self._decoded(start)
        if found is not None and _shallow(found.value):
            return found
        self._failed = True
        end, depth = self._match(start)
        if depth > MAX_DEPTH:
            return None
        found = self._decoded(start) if end != _UNCLOSED else None
        return self._mended_at(start) if found is None and self._repair else found

    def string_at(self, start: int) -> Json | None:
        """The string literal that begins at `start`, or None."""
        if not self._text.startswith('"', start):
            return None
        try:
            return Json(*_STRICT.raw_decode(self._text, start))
        except ValueError:
            return None

    def top_level_at(self, start: int) -> Json | None:
        """As `value_at`, for formats without tags, where any `{` may begin a call. Ask from left to right.

        An object inside one that broke before it closed is part of the broken one, not a call of its own;
        where the broken one stopped being JSON, reading begins anew.
        """
        if start < self._broken_until and start in self._matched:
            return None
        found = self.value_at(start)
        if found is None:
            self._broken_until = max(self._broken_until, self._stops_at(start))
        return found

    def _stops_at(self, start: int) -> int:
        """Where the unreadable text at `start` stops being JSON: its length, if it is only cut off."""
        if start not in self._matched or self._matched[start][1] > MAX_DEPTH:
            return start + 1
        try:
            return _STRICT.raw_decode(self._text, start)[1]
        except json.JSONDecodeError as error:
            return len(self._text) if error.msg.startswith("Unterminated string") else error.pos
        except ValueError:
            return start + 1

    def _decoded(self, start: int) -> Json | None:
        try:
            return Json(*_STRICT.raw_decode(self._text, start))
        except (ValueError, RecursionError):
            return None

    def _mended_at(self, start: int) -> Json | None:
        mended = repaired_json(self._text, start, max_depth=MAX_DEPTH)
        if mended is None:
            return None
        try:
            value = _CONTROLS_ALLOWED.decode(mended.text)
        except ValueError:
            return None
        return Json(value, mended.end, mended.repairs)

    def _match(self, start: int) -> tuple[int, int]:
        if start not in self._matched:
            self._scan(start)
        return self._matched[start]

    def _scan(self, start: int) -> None:
        text, matched = self._text, self._matched
        open_at: list[int] = []
        depths: list[int] = []
        at = start
        while at < len(text):
            char = text[at]
            if char in "{[":
                known = matched.get(at)
                if known is None:
                    open_at.append(at)
                    depths.append(0)
                    at += 1
                else:
                    depths[-1] = max(depths[-1], known[1])
                    if known[0] == _UNCLOSED:
                        break
                    at = known[0]
            elif char in "}]" and text[open_at[-1]] == _OPENER_OF[char]:
                at += 1
                depth = depths.pop() + 1
                matched[open_at.pop()] = (at, depth)
                if not open_at:
                    return
                depths[-1] = max(depths[-1], depth)
            else:
                break
            run = _RUN.match(text, at)
            at = run.end() if run else at
        depth = 0
        while open_at:
            depth = max(depths.pop(), depth) + 1
            matched[open_at.pop()] = (_UNCLOSED, depth)

"""Finding a parser by its name, the built-in ones exactly as anybody else's: by entry point."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .core.parser import ToolCallParser

GROUP = "pytest_hermes.parsers"
"""The entry-point group; its names are the formats, its values subclasses of `ToolCallParser`."""


class UnknownParser(KeyError, ValueError):
    """No parser is installed under this name. A KeyError, as of a failed look-up; its text is one line."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = list(known)
        close = difflib.get_close_matches(name, known, n=1)
        meant = f" did you mean {close[0]!r}?" if close else ""
        self._text = f"unknown tool-call parser {name!r};{meant} known: {', '.join(known)}"
        super().__init__(self._text)

    def __str__(self) -> str:
        # KeyError would print the text as a quoted string.
        return self._text


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def parser_names() -> list[str]:
    """The names of all installed formats, sorted."""
    return list(_installed())


def get_parser(name: str, tools: Iterable[Mapping[str, Any]] | None = None, *, repair: bool = False) -> ToolCallParser:
    """The parser of the format `name`.

    `tools` are the tool definitions sent to the model; only formats that write values as bare text need
    them, to tell `"42"` from `42`. `repair=True` accepts JSON that a server would reject and says so on
    each call. Raises `UnknownParser` for a name that is not installed, TypeError for tools that are none.
    """
    point = _installed().get(name)
    if point is None:
        raise UnknownParser(name, parser_names())
    parser: type[ToolCallParser] = point.load()
    return parser(tools, repair=repair)

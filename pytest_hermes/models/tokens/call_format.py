"""The format in which a model writes calls and reasoning, by the name of its parser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from ...config.installed import installed
from ...core.suggest import unknown
from ...errors import UsageError

GROUP = "pytest_hermes.parsers"


class CallParser(Protocol):
    """What a parser's entry point makes of the tools' schemas; see `ToolCallParser`."""

    def parse(self, text: str) -> tuple[str, list[Mapping[str, Any]]]:
        """Return the content, and the calls in the shape of the chat API."""

    def split_reasoning(self, text: str, *, prompt: str = "", cut_off: bool = False) -> tuple[str | None, str]:
        """Return the reasoning, None without any, and the rest."""


CallParserClass = Callable[[Sequence[Mapping[str, Any]] | None], CallParser]


def call_parser(name: str) -> CallParserClass:
    """Return the parser class of a format. Raises UsageError when there is none of that name that can be loaded."""
    points = installed(GROUP).get(name)
    if points is None:
        raise UsageError(f"env.tool_call_parser: {unknown('format', name, installed(GROUP))}")
    try:
        return cast(CallParserClass, points[0].load())
    except (ImportError, AttributeError) as error:
        raise UsageError(f"env.tool_call_parser: the format {name!r} cannot be loaded: {error}") from error

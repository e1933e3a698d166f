"""OLMo 3: calls as Python writes them, a line each, between `<function_calls>` tags."""

from __future__ import annotations

from collections.abc import Sequence

from .core.parser import Call
from .core.pythonic import JSON_CONSTANTS, PythonicParser, written_call


class Olmo3Parser(PythonicParser):
    """JSON's `null`, `true` and `false` count as Python's constants do: the models write both."""

    name = "olmo3"
    opener = "<function_calls>"
    separator = r"[ \t]*\n"
    closer = "</function_calls>"
    constants = JSON_CONSTANTS

    def write(self, calls: Sequence[Call]) -> str:
        written = "\n".join(map(written_call, calls))
        return f"<function_calls>{written}</function_calls>" if calls else ""

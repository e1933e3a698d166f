"""OLMo 3: calls as Python writes them, a line each, between `<function_calls>` tags."""

from __future__ import annotations

from .core.parser import Template
from .core.pythonic import JSON_CONSTANTS, PythonicParser


class Olmo3Parser(PythonicParser):
    """JSON's `null`, `true` and `false` count as Python's constants do: the models write both."""

    name = "olmo3"
    opener = "<function_calls>"
    separator = r"[ \t]*\n"
    closer = "</function_calls>"
    constants = JSON_CONSTANTS
    template = Template("{name}({arguments})", between="\n", turn="<function_calls>{calls}</function_calls>")

"""Phi-4-mini: the word `functools` and an array of JSON objects."""

from __future__ import annotations

from collections.abc import Sequence

from .core.json_array import JsonArrayParser
from .core.json_text import dumps
from .core.parser import Call


class Phi4Parser(JsonArrayParser):
    """`parameters` counts as `arguments` does, as vLLM has it."""

    name = "phi4"
    marker = r"\bfunctools(?=\[)"
    argument_keys = ("arguments", "parameters")

    def write(self, calls: Sequence[Call]) -> str:
        if not calls:
            return ""
        return "functools" + dumps([{"name": call.name, "arguments": call.arguments} for call in calls])

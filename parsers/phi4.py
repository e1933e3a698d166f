"""Phi-4-mini: the word `functools` and an array of JSON objects."""

from __future__ import annotations

from .core.json_array import JsonArrayParser
from .core.parser import OBJECT, Template


class Phi4Parser(JsonArrayParser):
    """`parameters` counts as `arguments` does, as vLLM has it."""

    name = "phi4"
    marker = r"\bfunctools(?=\[)"
    argument_keys = ("arguments", "parameters")
    template = Template(OBJECT, between=", ", turn="functools[{calls}]")

"""Granite 3: `<|tool_call|>` (3.0) or `<tool_call>` (3.1 and later) and an array of JSON objects."""

from __future__ import annotations

from .core.json_array import JsonArrayParser
from .core.parser import OBJECT, Template


class GraniteParser(JsonArrayParser):
    name = "granite"
    marker = r"<\|tool_call\|>|<tool_call>"
    template = Template(OBJECT, between=", ", turn="<|tool_call|>[{calls}]")

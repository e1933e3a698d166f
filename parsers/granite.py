"""Granite 3: `<|tool_call|>` (3.0) or `<tool_call>` (3.1 and later) and an array of JSON objects."""

from __future__ import annotations

from collections.abc import Sequence

from .core.json_array import JsonArrayParser
from .core.json_text import dumps
from .core.parser import Call


class GraniteParser(JsonArrayParser):
    name = "granite"
    marker = r"<\|tool_call\|>|<tool_call>"

    def write(self, calls: Sequence[Call]) -> str:
        if not calls:
            return ""
        return "<|tool_call|>" + dumps([{"name": call.name, "arguments": call.arguments} for call in calls])

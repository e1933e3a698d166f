"""Hunyuan A13B: an array of JSON objects between `<tool_calls>` tags."""

from __future__ import annotations

from collections.abc import Sequence

from .core.json_array import JsonArrayParser
from .core.json_text import dumps
from .core.parser import Call


class HunyuanParser(JsonArrayParser):
    name = "hunyuan"
    marker = "<tool_calls>"
    closer = "</tool_calls>"

    def write(self, calls: Sequence[Call]) -> str:
        if not calls:
            return ""
        objects = [{"name": call.name, "arguments": call.arguments} for call in calls]
        return f"<tool_calls>{dumps(objects)}</tool_calls>"

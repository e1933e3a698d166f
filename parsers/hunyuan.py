"""Hunyuan A13B: an array of JSON objects between `<tool_calls>` tags."""

from __future__ import annotations

from .core.json_array import JsonArrayParser
from .core.parser import OBJECT, Template


class HunyuanParser(JsonArrayParser):
    name = "hunyuan"
    marker = "<tool_calls>"
    closer = "</tool_calls>"
    template = Template(OBJECT, between=", ", turn="<tool_calls>[{calls}]</tool_calls>")

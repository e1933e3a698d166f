"""LongCat-Flash: one JSON object a call, between `<longcat_tool_call>` tags."""

from __future__ import annotations

from .core.reasoning import THINK
from .core.tagged_json import TaggedJsonParser


class LongcatParser(TaggedJsonParser):
    name = "longcat"
    opener = "<longcat_tool_call>"
    closer = "</longcat_tool_call>"
    think_tags = (*THINK, ("<longcat_think>", "</longcat_think>"))

"""LongCat-Flash: one JSON object a call, between `<longcat_tool_call>` tags."""

from __future__ import annotations

from .core.marked_json import MarkedJsonParser
from .core.parser import OBJECT, Template
from .core.patterns import SPACE
from .core.reasoning import THINK


class LongcatParser(MarkedJsonParser):
    name = "longcat"
    head = "<longcat_tool_call>"
    tail = f"{SPACE}</longcat_tool_call>"
    template = Template(f"<longcat_tool_call>\n{OBJECT}\n</longcat_tool_call>", between="\n")
    think_tags = (*THINK, ("<longcat_think>", "</longcat_think>"))

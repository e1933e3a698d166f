"""Kimi K2: the call's id carries its name, `functions.NAME:INDEX`, and goes back to the model as it is.

The format and the rule that the index counts through the whole conversation are from the model's
tool-call guidance (moonshotai/Kimi-K2-Instruct, docs/tool_call_guidance.md).
"""

from __future__ import annotations

import re

from .core.marked_json import MarkedJsonParser
from .core.parser import Call, Template
from .core.patterns import NAME, SPACE

_ID = re.compile(rf"(?:functions\.)?(?P<name>{NAME}):[0-9]+")


class KimiK2Parser(MarkedJsonParser):
    name = "kimi_k2"
    section = ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")
    head = rf"<\|tool_call_begin\|>{SPACE}(?P<id>{_ID.pattern}){SPACE}<\|tool_call_argument_begin\|>"
    tail = SPACE + r"<\|tool_call_end\|>"
    template = Template(
        "<|tool_call_begin|>{id}<|tool_call_argument_begin|>{arguments}<|tool_call_end|>",
        turn="<|tool_calls_section_begin|>{calls}<|tool_calls_section_end|>",
    )

    def written_id(self, call: Call, index: int) -> str:
        given = _ID.fullmatch(call.id)
        return call.id if given and given["name"] == call.name else f"functions.{call.name}:{index}"

"""Kimi K2: the call's id carries its name, `functions.NAME:INDEX`, and goes back to the model as it is.

The format and the rule that the index counts through the whole conversation are from the model's
tool-call guidance (moonshotai/Kimi-K2-Instruct, docs/tool_call_guidance.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .core.json_text import dumps
from .core.parser import Call
from .core.patterns import NAME, SPACE
from .core.sectioned_json import SectionedJsonParser

_ID = re.compile(rf"(?:functions\.)?(?P<name>{NAME}):[0-9]+")


class KimiK2Parser(SectionedJsonParser):
    name = "kimi_k2"
    section_opener = "<|tool_calls_section_begin|>"
    section_closer = "<|tool_calls_section_end|>"
    call_opener = "<|tool_call_begin|>"
    head = rf"{SPACE}(?P<id>{_ID.pattern}){SPACE}<\|tool_call_argument_begin\|>"
    tail = SPACE + r"<\|tool_call_end\|>"

    def write(self, calls: Sequence[Call]) -> str:
        if not calls:
            return ""
        written = "".join(
            f"{self.call_opener}{_id(call, index)}<|tool_call_argument_begin|>{dumps(call.arguments)}<|tool_call_end|>"
            for index, call in enumerate(calls)
        )
        return f"{self.section_opener}{written}{self.section_closer}"


def _id(call: Call, index: int) -> str:
    given = _ID.fullmatch(call.id)
    return call.id if given and given["name"] == call.name else f"functions.{call.name}:{index}"

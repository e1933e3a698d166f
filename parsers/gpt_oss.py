"""gpt-oss: the harmony format's messages to `functions.NAME`, as the openai-harmony library writes them.

The recipient stands in the channel's header or in the role's. What is said on other channels, and the
channels' markers with it, stays in the content.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .core.call_object import arguments_at
from .core.json_text import JsonText, dumps
from .core.parser import Call, Found, ToolCallParser
from .core.patterns import NAME, SPACE

_CHANNEL = r"<\|channel\|>(?:commentary|analysis)"
_HEAD = re.compile(
    rf"(?:<\|start\|>assistant)?(?:{_CHANNEL})? to=functions\.(?P<name>{NAME})(?:{_CHANNEL})?"
    rf" ?(?:<\|constrain\|>)?(?:json)?<\|message\|>{SPACE}(?=[{{\"])"
)
_TAIL = re.compile(rf"(?:{SPACE}<\|call\|>)?")


class GptOssParser(ToolCallParser):
    """`<|call|>` ends a call and the sampling; not every server hands it on, so it may be missing."""

    name = "gpt_oss"

    def find(self, text: str) -> list[Found]:
        objects = JsonText(text, repair=self.repair)
        found: list[Found] = []
        end = 0
        for head in _HEAD.finditer(text):
            arguments = arguments_at(objects, head.end(), repair=self.repair) if head.start() >= end else None
            tail = _TAIL.match(text, arguments.end) if arguments else None
            if arguments and tail:
                end = tail.end()
                call = Call(head["name"], arguments.value, repairs=arguments.repairs)
                found.append(Found(head.start(), end, call))
        return found

    def write(self, calls: Sequence[Call]) -> str:
        return "<|start|>assistant".join(
            f"<|channel|>commentary to=functions.{call.name} <|constrain|>json<|message|>"
            f"{dumps(call.arguments)}<|call|>"
            for call in calls
        )

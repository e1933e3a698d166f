"""Formats that write each call as one JSON object between an opening and a closing tag."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from .call_object import call_of
from .json_text import JsonText, dumps
from .parser import Call, Found, ToolCallParser
from .patterns import SPACE


class TaggedJsonParser(ToolCallParser):
    """`OPENER {"name": …, "arguments": {…}} CLOSER`, repeated.

    The object is read from the opener on, so a closing tag inside one of its strings is text. Without the
    closing tag behind it there is no call: that is what the token limit leaves of one.
    """

    opener: ClassVar[str]
    closer: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls._open = re.compile(re.escape(cls.opener) + SPACE + r"(?=\{)")
        cls._close = re.compile(SPACE + re.escape(cls.closer))

    _open: ClassVar[re.Pattern[str]]
    _close: ClassVar[re.Pattern[str]]

    def find(self, text: str) -> list[Found]:
        objects = JsonText(text, repair=self.repair)
        found: list[Found] = []
        end = 0
        for opened in self._open.finditer(text):
            if opened.start() < end:
                continue
            value = objects.value_at(opened.end())
            closed = self._close.match(text, value.end) if value else None
            if value is None or closed is None:
                continue
            call = call_of(value, repair=self.repair)
            if call is not None:
                end = closed.end()
                found.append(Found(opened.start(), end, call))
        return found

    def write(self, calls: Sequence[Call]) -> str:
        objects = (dumps({"name": call.name, "arguments": call.arguments}) for call in calls)
        return "\n".join(f"{self.opener}\n{written}\n{self.closer}" for written in objects)

"""Formats that write each call as JSON between two pieces of markup."""

from __future__ import annotations

import re
from typing import ClassVar

from .call_object import call_behind, call_of
from .json_text import JsonText
from .parser import Call, Found, ToolCallParser
from .patterns import SPACE


class MarkedJsonParser(ToolCallParser):
    """`HEAD {JSON} TAIL`, repeated; where the format has sections, only inside one.

    The JSON is read from the head on, so markup inside one of its strings is text. Without the tail there is no call:
    that is what the token limit leaves of one. A section need not be closed: a call that is whole when the token limit
    strikes has been made. Markers of a section that next to them have text instead of a call stay in the content with
    that text.
    """

    head: ClassVar[str]
    """Pattern of what stands before the JSON: arguments, where it has a group `name` and possibly `id`, else an object
    with name and arguments."""
    tail: ClassVar[str]
    """Pattern of what stands behind it."""
    section: ClassVar[tuple[str, str] | None] = None
    """The pair of tags that must stand around calls, where the format has them."""

    def __init_subclass__(cls) -> None:
        marker, tail = rf"(?P<call>{cls.head}{SPACE})(?=[{{\"])", cls.tail
        if cls.section:
            opener, closer = map(re.escape, cls.section)
            marker = f"(?P<open>{opener}{SPACE})|(?P<close>{closer})|{marker}"
            tail = f"{tail}(?P<close>{SPACE}{closer})?"
        cls._marker = re.compile(marker)
        cls._tail = re.compile(tail)

    _marker: ClassVar[re.Pattern[str]]
    _tail: ClassVar[re.Pattern[str]]

    def find(self, text: str) -> list[Found]:
        objects = JsonText(text, repair=self.repair)
        found: list[Found] = []
        opened: re.Match[str] | None = None
        inside = self.section is None
        end = 0
        for marker in self._marker.finditer(text):
            if marker.start() < end:
                continue
            if marker.lastgroup != "call":
                opened, inside = marker, marker.lastgroup == "open"
                continue
            read = self._read(objects, marker) if inside else None
            tail = self._tail.match(text, read[1]) if read else None
            if read is None or tail is None:
                continue
            start = opened.start() if opened and opened.end() == marker.start() else marker.start()
            end = tail.end()
            found.append(Found(start, end, read[0]))
            inside = inside and not tail.groupdict().get("close")
        return found

    def _read(self, objects: JsonText, head: re.Match[str]) -> tuple[Call, int] | None:
        if "name" in head.groupdict():
            return call_behind(head, objects, repair=self.repair)
        value = objects.value_at(head.end())
        call = call_of(value, repair=self.repair) if value else None
        return (call, value.end) if call and value else None

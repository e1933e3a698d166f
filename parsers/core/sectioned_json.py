"""Formats that put all calls of a turn into one section and write the name outside of the JSON."""

from __future__ import annotations

import re
from typing import ClassVar

from .call_object import arguments_at
from .json_text import JsonText
from .parser import Call, Found, ToolCallParser
from .patterns import SPACE


class SectionedJsonParser(ToolCallParser):
    """`SECTION_OPENER (HEAD {arguments} TAIL)… SECTION_CLOSER`.

    A call counts only inside a section. The section need not be closed: a call that is whole when the token
    limit strikes has been made. Markers of a section that next to them have text instead of a call stay in
    the content with that text.
    """

    section_opener: ClassVar[str]
    section_closer: ClassVar[str]
    call_opener: ClassVar[str]
    head: ClassVar[str]
    """Pattern behind the call's opener up to its arguments, with a group `name` and possibly `id`."""
    tail: ClassVar[str]
    """Pattern behind the arguments, to the end of the call."""

    def __init_subclass__(cls) -> None:
        opener, closer = re.escape(cls.section_opener), re.escape(cls.section_closer)
        call = re.escape(cls.call_opener)
        cls._marker = re.compile(f"(?P<open>{opener}{SPACE})|(?P<close>{closer})|(?P<call>{call})")
        cls._head = re.compile(cls.head + SPACE + r"(?=[{\"])")
        cls._tail = re.compile(f"{cls.tail}(?:{SPACE}{closer})?")

    _marker: ClassVar[re.Pattern[str]]
    _head: ClassVar[re.Pattern[str]]
    _tail: ClassVar[re.Pattern[str]]

    def find(self, text: str) -> list[Found]:
        objects = JsonText(text, repair=self.repair)
        found: list[Found] = []
        section: re.Match[str] | None = None
        end = 0
        for marker in self._marker.finditer(text):
            if marker.start() < end:
                continue
            if marker.lastgroup != "call":
                section = marker if marker.lastgroup == "open" else None
                continue
            head = self._head.match(text, marker.end()) if section else None
            arguments = arguments_at(objects, head.end(), repair=self.repair) if head else None
            tail = self._tail.match(text, arguments.end) if arguments else None
            if section is None or head is None or arguments is None or tail is None:
                continue
            start = section.start() if section.end() == marker.start() else marker.start()
            end = tail.end()
            groups = head.groupdict()
            call = Call(groups["name"].strip(), arguments.value, groups.get("id") or "", arguments.repairs)
            found.append(Found(start, end, call))
            if tail[0].endswith(self.section_closer):
                section = None
        return found

"""Formats that write calls as an array of JSON objects behind a marker."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import ClassVar

from .call_object import call_behind, call_of
from .json_text import Json, JsonText
from .parser import Call, Found, ToolCallParser
from .patterns import SPACE


class JsonArrayParser(ToolCallParser):
    """`MARKER [{"name": …, "arguments": {…}}, …]`, or one call a marker, named outside of the JSON.

    The array is read element by element, so a broken element costs only itself. One counts as soon as a comma
    or the array's end follows: what the token limit cuts off later has no part in it.
    """

    marker: ClassVar[str]
    """Pattern of what stands before each array."""
    closer: ClassVar[str] = ""
    """Pattern of what may stand behind it."""
    named: ClassVar[str] = "(?!)"
    """Pattern from the marker to the arguments of a single call, with groups `name` and possibly `id`."""
    argument_keys: ClassVar[tuple[str, ...]] = ("arguments",)
    id_shape: ClassVar[re.Pattern[str] | None] = None
    """What the ids look like that an object or a single call may bring along; None where there are none."""

    def __init_subclass__(cls) -> None:
        cls._event = re.compile(rf"(?P<marker>{cls.marker}){SPACE}(?:(?P<array>\[{SPACE})|{cls.named})|(?P<object>\{{)")
        closed = rf"(?:{SPACE}{cls.closer})?" if cls.closer else ""
        cls._separator = re.compile(rf"{SPACE}(?:,{SPACE}|(?P<close>\]){closed})")

    _event: ClassVar[re.Pattern[str]]
    _separator: ClassVar[re.Pattern[str]]

    def find(self, text: str) -> list[Found]:
        objects = JsonText(text, repair=self.repair)
        found: list[Found] = []
        end = 0
        array: re.Match[str] | None = None
        for event in self._event.finditer(text):
            if event.start() < end:
                continue
            if event["array"]:
                array = event
            elif event["marker"]:
                array = None
                read = call_behind(event, objects, repair=self.repair)
                if read is not None:
                    end = read[1]
                    found.append(Found(event.start(), end, read[0]))
            elif array is not None:
                value = objects.top_level_at(event.start())
                if value is None:
                    continue
                start = array.start() if array.end() == event.start() else event.start()
                separator = self._separator.match(text, value.end)
                end = separator.end() if separator else value.end
                if separator is None or separator["close"]:
                    array = None
                element = self._element(value) if separator else None
                if element is not None:
                    found.append(Found(start, end, element))
        return found

    def _element(self, value: Json) -> Call | None:
        call = call_of(value, arguments=self.argument_keys, repair=self.repair)
        given = value.value.get("id") if call and self.id_shape else None
        if call and self.id_shape and isinstance(given, str) and self.id_shape.fullmatch(given):
            return replace(call, id=given)
        return call

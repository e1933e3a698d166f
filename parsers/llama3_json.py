"""Llama 3.1 to 3.3: bare JSON objects with `name` and `parameters`, apart by `;` or newlines."""

from __future__ import annotations

import re

from .core.call_object import call_of
from .core.json_text import JsonText
from .core.parser import Found, Template, ToolCallParser
from .core.patterns import SPACE

_OBJECT = re.compile(rf"(?P<tag><\|python_tag\|>{SPACE})?\{{(?={SPACE}[\"'])")
# There is no opening tag, so any object in the text may be a call; one right behind a quote, a bracket, a
# comma or the like is part of a quotation or of other data.
_QUOTING = ("`", '"', "'", "[", "(", ":", ",", "=", "{", "\\")
_SEPARATOR = re.compile(rf"{SPACE};(?={SPACE}(?:\{{|\Z))")


class Llama3JsonParser(ToolCallParser):
    """`arguments` counts as `parameters` does: the models mix both, and servers take either."""

    name = "llama3_json"
    template = Template('{{"name": {quoted_name}, "parameters": {arguments}}}', between="; ")

    def find(self, text: str) -> list[Found]:
        objects = JsonText(text, repair=self.repair)
        found: list[Found] = []
        end = 0
        for opened in _OBJECT.finditer(text):
            if opened.start() < end:
                continue
            value = objects.top_level_at(opened.end() - 1)
            if value is None:
                continue
            end = value.end
            call = call_of(value, arguments=("arguments", "parameters"), repair=self.repair)
            if call is not None and not text.endswith(_QUOTING, 0, opened.start()):
                separator = _SEPARATOR.match(text, end)
                end = separator.end() if separator else end
                found.append(Found(opened.start(), end, call))
        return found

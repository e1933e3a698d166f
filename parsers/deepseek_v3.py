"""DeepSeek V3 (0324) and R1 (0528): the name behind a separator, the arguments in a fenced block of JSON."""

from __future__ import annotations

from collections.abc import Sequence

from .core.json_text import dumps
from .core.parser import Call
from .core.sectioned_json import SectionedJsonParser


class DeepseekV3Parser(SectionedJsonParser):
    name = "deepseek_v3"
    section_opener = "<｜tool▁calls▁begin｜>"
    section_closer = "<｜tool▁calls▁end｜>"
    call_opener = "<｜tool▁call▁begin｜>"
    head = r"function<｜tool▁sep｜>(?P<name>[^\n<]*[^\s<])\n```json\n"
    tail = r"[ \t\r\n]*\n```<｜tool▁call▁end｜>"

    def write(self, calls: Sequence[Call]) -> str:
        if not calls:
            return ""
        written = "\n".join(
            f"{self.call_opener}function<｜tool▁sep｜>{call.name}\n```json\n{dumps(call.arguments)}\n```"
            "<｜tool▁call▁end｜>"
            for call in calls
        )
        return f"{self.section_opener}{written}{self.section_closer}"

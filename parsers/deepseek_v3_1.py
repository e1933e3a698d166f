"""DeepSeek V3.1: the markers of V3, the bare JSON behind the name, no fence."""

from __future__ import annotations

from collections.abc import Sequence

from .core.json_text import dumps
from .core.parser import Call
from .core.patterns import SPACE
from .core.sectioned_json import SectionedJsonParser


class DeepseekV31Parser(SectionedJsonParser):
    name = "deepseek_v3_1"
    section_opener = "<｜tool▁calls▁begin｜>"
    section_closer = "<｜tool▁calls▁end｜>"
    call_opener = "<｜tool▁call▁begin｜>"
    head = r"(?P<name>[^\n<]*[^\s<])<｜tool▁sep｜>"
    tail = SPACE + "<｜tool▁call▁end｜>"

    def write(self, calls: Sequence[Call]) -> str:
        if not calls:
            return ""
        written = "".join(
            f"{self.call_opener}{call.name}<｜tool▁sep｜>{dumps(call.arguments)}<｜tool▁call▁end｜>" for call in calls
        )
        return f"{self.section_opener}{written}{self.section_closer}"

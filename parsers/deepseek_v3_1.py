"""DeepSeek V3.1: the markers of V3, the bare JSON behind the name, no fence."""

from __future__ import annotations

from .core.marked_json import MarkedJsonParser
from .core.parser import Template
from .core.patterns import SPACE


class DeepseekV31Parser(MarkedJsonParser):
    name = "deepseek_v3_1"
    section = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
    head = r"<｜tool▁call▁begin｜>(?P<name>[^\n<]*[^\s<])<｜tool▁sep｜>"
    tail = SPACE + "<｜tool▁call▁end｜>"
    template = Template(
        "<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}<｜tool▁call▁end｜>",
        turn="<｜tool▁calls▁begin｜>{calls}<｜tool▁calls▁end｜>",
    )

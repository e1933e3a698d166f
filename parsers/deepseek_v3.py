"""DeepSeek V3 (0324) and R1 (0528): the name behind a separator, the arguments in a fenced block of JSON."""

from __future__ import annotations

from .core.marked_json import MarkedJsonParser
from .core.parser import Template


class DeepseekV3Parser(MarkedJsonParser):
    name = "deepseek_v3"
    section = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
    head = r"<｜tool▁call▁begin｜>function<｜tool▁sep｜>(?P<name>[^\n<]*[^\s<])\n```json\n"
    tail = r"[ \t\r\n]*\n```<｜tool▁call▁end｜>"
    template = Template(
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```<｜tool▁call▁end｜>",
        between="\n",
        turn="<｜tool▁calls▁begin｜>{calls}<｜tool▁calls▁end｜>",
    )

"""Llama 4 (and 3.2 with its pythonic prompt): a Python list of calls, `[f(a=1), g(b="x")]`."""

from __future__ import annotations

from .core.parser import Template
from .core.patterns import SPACE
from .core.pythonic import PythonicParser


class Llama4PythonicParser(PythonicParser):
    """The list begins a line or follows its marker; elsewhere brackets are prose or code."""

    name = "llama4_pythonic"
    opener = rf"(?:^[ \t]*|<\|python_start\|>{SPACE})\["
    separator = ","
    closer = rf"\](?:{SPACE}<\|python_end\|>)?"
    template = Template("{name}({arguments})", between=", ", turn="<|python_start|>[{calls}]<|python_end|>")

"""Llama 4 (and 3.2 with its pythonic prompt): a Python list of calls, `[f(a=1), g(b="x")]`."""

from __future__ import annotations

from collections.abc import Sequence

from .core.parser import Call
from .core.patterns import SPACE
from .core.pythonic import PythonicParser, written_call


class Llama4PythonicParser(PythonicParser):
    """The list begins a line or follows its marker; elsewhere brackets are prose or code."""

    name = "llama4_pythonic"
    opener = rf"(?:^[ \t]*|<\|python_start\|>{SPACE})\["
    separator = ","
    closer = rf"\](?:{SPACE}<\|python_end\|>)?"

    def write(self, calls: Sequence[Call]) -> str:
        return f"<|python_start|>[{', '.join(map(written_call, calls))}]<|python_end|>" if calls else ""

"""MiniMax M2: all calls of a turn between `<minimax:tool_call>` tags, each an `<invoke>` with parameters."""

from __future__ import annotations

from collections.abc import Sequence

from .core.parameters import Grammar, ParameterParser, values_of
from .core.parser import Call
from .core.patterns import SPACE, quoted


class MinimaxM2Parser(ParameterParser):
    name = "minimax_m2"
    grammar = Grammar(
        call=rf"<invoke name={quoted('name')}>",
        parameter=rf"{SPACE}<parameter name={quoted('key')}>",
        value_end=rf'</parameter>(?={SPACE}(?:<parameter name="|</invoke>))',
        call_end=rf"{SPACE}</invoke>",
        section=("<minimax:tool_call>", "</minimax:tool_call>"),
    )

    def write(self, calls: Sequence[Call]) -> str:
        if not calls:
            return ""
        written = "".join(
            f'<invoke name="{call.name}">\n'
            + "".join(f'<parameter name="{key}">{value}</parameter>\n' for key, value in values_of(call, self))
            + "</invoke>\n"
            for call in calls
        )
        return f"<minimax:tool_call>\n{written}</minimax:tool_call>"

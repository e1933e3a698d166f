"""MiniMax M2: all calls of a turn between `<minimax:tool_call>` tags, each an `<invoke>` with parameters."""

from __future__ import annotations

from .core.parameters import Grammar, ParameterParser
from .core.parser import Template
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
    template = Template(
        '<invoke name="{name}">\n{arguments}</invoke>\n', turn="<minimax:tool_call>\n{calls}</minimax:tool_call>"
    )
    parameter = '<parameter name="{key}">{value}</parameter>\n'

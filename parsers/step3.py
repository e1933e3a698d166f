"""Step-3: a section of calls, each an invocation with parameters in `steptml` tags."""

from __future__ import annotations

from .core.parameters import Grammar, ParameterParser
from .core.parser import Template
from .core.patterns import SPACE, quoted

_CALL = "<｜tool_call_begin｜>function<｜tool_sep｜>"


class Step3Parser(ParameterParser):
    name = "step3"
    grammar = Grammar(
        call=rf"{_CALL}{SPACE}<steptml:invoke name={quoted('name')}>",
        parameter=rf"{SPACE}<steptml:parameter name={quoted('key')}>",
        value_end=rf'</steptml:parameter>(?={SPACE}(?:<steptml:parameter name="|</steptml:invoke>))',
        call_end=rf"{SPACE}</steptml:invoke>{SPACE}<｜tool_call_end｜>",
        section=("<｜tool_calls_begin｜>", "<｜tool_calls_end｜>"),
    )
    template = Template(
        f'{_CALL}<steptml:invoke name="{{name}}">{{arguments}}</steptml:invoke><｜tool_call_end｜>',
        between="\n",
        turn="<｜tool_calls_begin｜>\n{calls}\n<｜tool_calls_end｜>",
    )
    parameter = '<steptml:parameter name="{key}">{value}</steptml:parameter>'

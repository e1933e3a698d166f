"""Step-3: a section of calls, each an invocation with parameters in `steptml` tags."""

from __future__ import annotations

from collections.abc import Sequence

from .core.parameters import Grammar, ParameterParser, values_of
from .core.parser import Call
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

    def write(self, calls: Sequence[Call]) -> str:
        if not calls:
            return ""
        written = "\n".join(
            f'{_CALL}<steptml:invoke name="{call.name}">'
            + "".join(
                f'<steptml:parameter name="{key}">{value}</steptml:parameter>' for key, value in values_of(call, self)
            )
            + "</steptml:invoke><｜tool_call_end｜>"
            for call in calls
        )
        return f"<｜tool_calls_begin｜>\n{written}\n<｜tool_calls_end｜>"

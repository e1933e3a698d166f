"""DeepSeek V3.2: invocations and parameters as tags, each parameter saying whether it is a string or JSON."""

from __future__ import annotations

import re
from typing import Any

from .core.json_text import loads_any
from .core.parameters import Grammar, ParameterParser
from .core.parser import Call, Template
from .core.patterns import SPACE, quoted
from .core.schema import Typed

_TAG = "｜DSML｜"


class DeepseekV32Parser(ParameterParser):
    """The format types its values itself and needs no schema; what is no JSON stays a string."""

    name = "deepseek_v3_2"
    grammar = Grammar(
        call=rf"<{_TAG}invoke name={quoted('name')}>",
        parameter=rf'{SPACE}<{_TAG}parameter name={quoted("key")} string="(?P<string>true|false)">',
        value_end=rf'</{_TAG}parameter>(?={SPACE}(?:<{_TAG}parameter name="|</{_TAG}invoke>))',
        call_end=rf"{SPACE}</{_TAG}invoke>",
        section=(f"<{_TAG}function_calls>", f"</{_TAG}function_calls>"),
    )
    template = Template(
        f'<{_TAG}invoke name="{{name}}">\n{{arguments}}</{_TAG}invoke>\n',
        turn=f"<{_TAG}function_calls>\n{{calls}}</{_TAG}function_calls>",
    )
    parameter = f'<{_TAG}parameter name="{{key}}" string="{{is_string}}">{{value}}</{_TAG}parameter>\n'

    def typed(self, tool: str, parameter: re.Match[str], text: str) -> Typed:
        found = loads_any(text, repair=self.repair) if parameter["string"] == "false" else None
        return Typed(text) if found is None else Typed(found.value, found.repairs)

    def as_read(self, call: Call) -> dict[str, Any]:
        return call.arguments

"""DeepSeek V3.2: invocations and parameters as tags, each parameter saying whether it is a string or JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .core.json_text import dumps, loads_any
from .core.parameters import Grammar, ParameterParser
from .core.parser import Call
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

    def typed(self, tool: str, parameter: re.Match[str], text: str) -> Typed:
        found = loads_any(text, repair=self.repair) if parameter["string"] == "false" else None
        return Typed(text) if found is None else Typed(found.value, found.repairs)

    def as_read(self, call: Call) -> dict[str, Any]:
        return call.arguments

    def write(self, calls: Sequence[Call]) -> str:
        if not calls:
            return ""
        written = "".join(
            f'<{_TAG}invoke name="{call.name}">\n'
            + "".join(_parameter(key, value) for key, value in call.arguments.items())
            + f"</{_TAG}invoke>\n"
            for call in calls
        )
        return f"<{_TAG}function_calls>\n{written}</{_TAG}function_calls>"


def _parameter(key: str, value: Any) -> str:
    string = "true" if isinstance(value, str) else "false"
    text = value if isinstance(value, str) else dumps(value)
    return f'<{_TAG}parameter name="{key}" string="{string}">{text}</{_TAG}parameter>\n'

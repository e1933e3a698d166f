"""GLM-4.5 and 4.6: the name, then keys and values as pairs of tags, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from .core.parameters import Grammar, ParameterParser, values_of
from .core.parser import Call
from .core.patterns import NAME, SPACE


class Glm45Parser(ParameterParser):
    """White space between the tags is free, as it is to the servers; inside a value it is the value's."""

    name = "glm45"
    grammar = Grammar(
        call=rf"<tool_call>{SPACE}(?P<name>{NAME}){SPACE}(?=<arg_key>|</tool_call>)",
        parameter=rf"{SPACE}<arg_key>(?P<key>[^<]{{1,256}})</arg_key>{SPACE}<arg_value>",
        value_end=rf"</arg_value>(?={SPACE}(?:<arg_key>|</tool_call>))",
        call_end=rf"{SPACE}</tool_call>",
    )
    newline: ClassVar[str] = "\n"
    """What the template puts behind the name and behind each tag that closes something."""

    def write(self, calls: Sequence[Call]) -> str:
        newline = self.newline
        return newline.join(
            f"<tool_call>{call.name}{newline}"
            + "".join(
                f"<arg_key>{key}</arg_key>{newline}<arg_value>{value}</arg_value>{newline}"
                for key, value in values_of(call, self)
            )
            + "</tool_call>"
            for call in calls
        )

"""GLM-4.5 and 4.6: the name, then keys and values as pairs of tags, a line each."""

from __future__ import annotations

from .core.parameters import Grammar, ParameterParser
from .core.parser import Template
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
    template = Template("<tool_call>{name}\n{arguments}</tool_call>", between="\n")
    parameter = "<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n"

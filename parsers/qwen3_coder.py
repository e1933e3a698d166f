"""Qwen3-Coder and Qwen 3.5: a function and its parameters as tags, each value on lines of its own."""

from __future__ import annotations

from .core.parameters import Grammar, ParameterParser
from .core.parser import Template
from .core.patterns import SPACE


def function_grammar(opener: str, closer: str) -> Grammar:
    """The grammar of `<function=…><parameter=…>` between the tags `opener` and `closer`."""
    call_end = f"</function>{SPACE}{closer}"
    return Grammar(
        call=rf"{opener}{SPACE}<function=(?P<name>[^<>\n]{{1,256}})>",
        parameter=rf"{SPACE}<parameter=(?P<key>[^<>\n]{{1,256}})>",
        value_end=rf"</parameter>(?={SPACE}(?:<parameter=[^<>\n]{{1,256}}>|{call_end}))",
        call_end=SPACE + call_end,
    )


class Qwen3CoderParser(ParameterParser):
    name = "qwen3_coder"
    grammar = function_grammar("<tool_call>", "</tool_call>")
    wrapped_in_newlines = True
    template = Template("<tool_call>\n<function={name}>\n{arguments}</function>\n</tool_call>", between="\n")
    parameter = "<parameter={key}>\n{value}\n</parameter>\n"

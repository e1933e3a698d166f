"""Qwen3-Coder and Qwen 3.5: a function and its parameters as tags, each value on lines of its own."""

from __future__ import annotations

from collections.abc import Sequence

from .core.parameters import Grammar, ParameterParser, values_of
from .core.parser import Call
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
    opener = "<tool_call>"
    closer = "</tool_call>"
    grammar = function_grammar(opener, closer)
    wrapped_in_newlines = True

    def write(self, calls: Sequence[Call]) -> str:
        return "\n".join(
            f"{self.opener}\n<function={call.name}>\n"
            + "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values_of(call, self))
            + f"</function>\n{self.closer}"
            for call in calls
        )

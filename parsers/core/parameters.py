"""Formats that write each argument as bare text between tags of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .json_text import dumps
from .parser import Call, Found, ToolCallParser


@dataclass(frozen=True, slots=True)
class Grammar:
    """The markup of such a format, as patterns.

    `call` opens a call and has the group `name`; `parameter` opens a value and has the group `key`;
    `value_end` closes it; `call_end` closes the call. A value may hold anything, closing tags included: so
    `value_end` must look ahead and match only where a further parameter or the end of the call follows.
    """

    call: str
    parameter: str
    value_end: str
    call_end: str


@dataclass(slots=True)
class _OpenCall:
    start: int
    name: str
    found_before: int
    values: list[tuple[str, int, int]] = field(default_factory=list)
    key: str | None = None
    value_start: int = 0


@dataclass(frozen=True, slots=True)
class _WrittenCall:
    start: int
    end: int
    name: str
    values: list[tuple[str, int, int]]


class ParameterParser(ToolCallParser):
    """XML-like parameters, typed by the tools' schemas; without a schema every value is a string."""

    grammar: ClassVar[Grammar]
    wrapped_in_newlines: ClassVar[bool] = False
    """Whether the template puts each value on lines of its own: one newline at each end is then markup."""

    def __init_subclass__(cls) -> None:
        grammar = cls.grammar
        cls._call = re.compile(grammar.call)
        cls._in_value = re.compile(f"(?P<value_end>{grammar.value_end})|{grammar.call}", re.DOTALL)
        cls._parameter = re.compile(grammar.parameter)
        cls._call_end = re.compile(grammar.call_end)

    _call: ClassVar[re.Pattern[str]]
    _in_value: ClassVar[re.Pattern[str]]
    _parameter: ClassVar[re.Pattern[str]]
    _call_end: ClassVar[re.Pattern[str]]

    def find(self, text: str) -> list[Found]:
        return [Found(one.start, one.end, self._typed(text, one)) for one in self._written(text)]

    def as_read(self, call: Call) -> dict[str, Any]:
        return {
            key: self.schemas.typed(call.name, key, written).value for key, written in values_of(call, self)
        }

    def written(self, value: Any) -> str:
        """A value as the templates print it: strings bare, everything else as JSON."""
        return value if isinstance(value, str) else dumps(value)

    def value(self, text: str) -> str:
        """The value that stands for `text`, all that is between its tags."""
        if not self.wrapped_in_newlines:
            return text
        return text.removeprefix("\n").removesuffix("\n")

    def _typed(self, text: str, written: _WrittenCall) -> Call:
        arguments: dict[str, Any] = {}
        repairs: dict[str, None] = {}
        for key, start, end in written.values:
            typed = self.schemas.typed(written.name, key, self.value(text[start:end]), repair=self.repair)
            arguments[key] = typed.value
            repairs.update(dict.fromkeys(typed.repairs))
        return Call(written.name, arguments, repairs=tuple(repairs))

    def _written(self, text: str) -> list[_WrittenCall]:
        # One pass with a stack. An opening of a call inside a value may be a quotation in an argument, or the
        # next call after one that was abandoned: which of both shows only where the outer call ends. If it
        # ends well, what it holds is its own text; if it never does, what it holds are calls.
        found: list[_WrittenCall] = []
        stack: list[_OpenCall] = []
        at = 0
        while True:
            here = stack[-1] if stack else None
            if here is not None and here.key is None:
                if ended := self._call_end.match(text, at):
                    at = ended.end()
                    del found[here.found_before :]
                    found.append(_WrittenCall(here.start, at, here.name, here.values))
                    stack.pop()
                elif opened := self._parameter.match(text, at):
                    at = opened.end()
                    here.key, here.value_start = opened["key"].strip(), at
                else:
                    stack.pop()
                continue
            event = (self._in_value if here else self._call).search(text, at)
            if event is None:
                return found
            at = event.end()
            if here is not None and here.key is not None and event["value_end"] is not None:
                here.values.append((here.key, here.value_start, event.start()))
                here.key = None
            else:
                stack.append(_OpenCall(event.start(), event["name"].strip(), len(found)))


def values_of(call: Call, parser: ParameterParser) -> Iterator[tuple[str, str]]:
    """The call's keys and values as they are written."""
    for key, value in call.arguments.items():
        yield key, parser.written(value)

"""Formats that write each argument as bare text between tags of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .json_text import dumps
from .parser import Call, Found, ToolCallParser
from .patterns import SPACE
from .schema import Typed


@dataclass(frozen=True, slots=True)
class Grammar:
    """The markup of such a format, as patterns.

    `call` opens a call and has the group `name`; `parameter` opens a value and has the group `key`;
    `value_end` closes it; `call_end` closes the call. A value may hold anything, closing tags included: so
    `value_end` must look ahead and match only where a further parameter or the end of the call follows.
    `section` is the pair of tags that must stand around calls, where the format has them.
    """

    call: str
    parameter: str
    value_end: str
    call_end: str
    section: tuple[str, str] | None = None


@dataclass(slots=True)
class _WrittenCall:
    start: int
    name: str
    found_before: int
    """How many calls were found before it began."""
    values: list[tuple[re.Match[str], int]] = field(default_factory=list)
    """Each parameter's opening, behind which its value begins, and the end of the value."""
    parameter: re.Match[str] | None = None
    """The opening whose value is being read."""
    end: int = -1


def _bare(value: Any) -> str:
    """A value as the templates print it: strings bare, everything else as JSON."""
    return value if isinstance(value, str) else dumps(value)


class ParameterParser(ToolCallParser):
    """XML-like parameters, typed by the tools' schemas; without a schema every value is a string."""

    grammar: ClassVar[Grammar]
    parameter: ClassVar[str]
    """How the template writes one argument, with the fields `key`, `value` and `is_string`."""
    wrapped_in_newlines: ClassVar[bool] = False
    """Whether the template puts each value on lines of its own: one newline at each end is then markup."""

    def __init_subclass__(cls) -> None:
        grammar = cls.grammar
        call, call_end = grammar.call, grammar.call_end
        if grammar.section:
            opener, closer = grammar.section
            call, call_end = f"(?:{opener}{SPACE})?{call}", f"{call_end}(?:{SPACE}{closer})?"
            cls._section = re.compile(f"(?P<open>{opener})|{closer}")
        cls._call = re.compile(call)
        cls._in_value = re.compile(f"(?P<value_end>{grammar.value_end})|{call}")
        cls._parameter = re.compile(grammar.parameter)
        cls._call_end = re.compile(call_end)

    _section: ClassVar[re.Pattern[str] | None] = None
    _call: ClassVar[re.Pattern[str]]
    _in_value: ClassVar[re.Pattern[str]]
    _parameter: ClassVar[re.Pattern[str]]
    _call_end: ClassVar[re.Pattern[str]]

    def find(self, text: str) -> list[Found]:
        written = self._in_sections(text, self._written(text))
        return [Found(one.start, one.end, self._typed(text, one)) for one in written]

    def as_read(self, call: Call) -> dict[str, Any]:
        return {key: self.schemas.typed(call.name, key, _bare(value)).value for key, value in call.arguments.items()}

    def written_arguments(self, arguments: dict[str, Any]) -> str:
        return "".join(
            self.parameter.format(key=key, value=_bare(value), is_string="true" if isinstance(value, str) else "false")
            for key, value in arguments.items()
        )

    def typed(self, tool: str, parameter: re.Match[str], text: str) -> Typed:
        """The value that stands for `text`, all that is between the tags of `parameter`."""
        if self.wrapped_in_newlines:
            text = text.removeprefix("\n").removesuffix("\n")
        return self.schemas.typed(tool, parameter["key"].strip(), text, repair=self.repair)

    def _typed(self, text: str, written: _WrittenCall) -> Call:
        arguments: dict[str, Any] = {}
        repairs: dict[str, None] = {}
        for parameter, end in written.values:
            typed = self.typed(written.name, parameter, text[parameter.end() : end])
            arguments[parameter["key"].strip()] = typed.value
            repairs.update(dict.fromkeys(typed.repairs))
        return Call(written.name, arguments, repairs=tuple(repairs))

    def _in_sections(self, text: str, calls: list[_WrittenCall]) -> list[_WrittenCall]:
        if self._section is None or not calls:
            return calls
        inside = False
        kept: list[_WrittenCall] = []
        markers = self._section.finditer(text)
        marker = next(markers, None)
        for call in calls:
            # A tag at a call's own ends belongs to the section; one between them is part of a value.
            while marker is not None and marker.start() <= call.start:
                inside = marker["open"] is not None
                marker = next(markers, None)
            if inside:
                kept.append(call)
            while marker is not None and marker.start() < call.end:
                inside = inside and not (marker.end() == call.end and marker["open"] is None)
                marker = next(markers, None)
        return kept

    def _written(self, text: str) -> list[_WrittenCall]:
        # One pass with a stack. An opening of a call inside a value may be a quotation in an argument, or the
        # next call after one that was abandoned: which of both shows only where the outer call ends. If it
        # ends well, what it holds is its own text; if it never does, what it holds are calls.
        found: list[_WrittenCall] = []
        stack: list[_WrittenCall] = []
        at = 0
        while True:
            here = stack[-1] if stack else None
            if here is not None and here.parameter is None:
                if ended := self._call_end.match(text, at):
                    at = here.end = ended.end()
                    found[here.found_before :] = [here]
                    stack.pop()
                elif opened := self._parameter.match(text, at):
                    at = opened.end()
                    here.parameter = opened
                else:
                    stack.pop()
                continue
            event = (self._in_value if here else self._call).search(text, at)
            if event is None:
                return found
            at = event.end()
            if here is not None and here.parameter is not None and event["value_end"] is not None:
                here.values.append((here.parameter, event.start()))
                here.parameter = None
            else:
                stack.append(_WrittenCall(event.start(), event["name"].strip(), len(found)))

"""Mistral's `[TOOL_CALLS]`, in both of its forms.

Up to tokenizer v7 one array follows the marker, from v11 on each call has a marker of its own:
`[TOOL_CALLS]name[CALL_ID]id[ARGS]{…}`, the id being optional. Both forms, and ids of nine alphanumerics,
are those of mistral-common.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import replace

from .core.call_object import arguments_at, call_of
from .core.json_text import Json, JsonText, dumps
from .core.parser import Call, Found, ToolCallParser
from .core.patterns import NAME, SPACE
from .core.reasoning import THINK

_ALPHANUMERIC = string.ascii_letters + string.digits
_ID = re.compile(r"[A-Za-z0-9]{9}")
_EVENT = re.compile(
    rf"\[TOOL_CALLS\]{SPACE}"
    rf"(?:(?P<array>\[{SPACE})|(?P<name>{NAME}){SPACE}(?:\[CALL_ID\](?P<id>{_ID.pattern}))?\[ARGS\]{SPACE}(?=[{{\"]))"
    r"|(?P<object>\{)"
)
_SEPARATOR = re.compile(rf"{SPACE}(?:,{SPACE}|(?P<close>\]))")


class MistralParser(ToolCallParser):
    name = "mistral"
    think_tags = (*THINK, ("[THINK]", "[/THINK]"))

    def find(self, text: str) -> list[Found]:
        objects = JsonText(text, repair=self.repair)
        found: list[Found] = []
        end = 0
        array: re.Match[str] | None = None
        for event in _EVENT.finditer(text):
            if event.start() < end:
                continue
            if event["array"]:
                array = event
            elif event["name"]:
                array = None
                arguments = arguments_at(objects, event.end(), repair=self.repair)
                if arguments is not None:
                    end = arguments.end
                    call = Call(event["name"], arguments.value, event["id"] or "", arguments.repairs)
                    found.append(Found(event.start(), end, call))
            elif array is not None:
                value = objects.top_level_at(event.start())
                if value is None:
                    continue
                start = array.start() if array.end() == event.start() else event.start()
                separator = _SEPARATOR.match(text, value.end)
                end = separator.end() if separator else value.end
                if separator is None or separator["close"]:
                    array = None
                call_in_array = self._call(value)
                if call_in_array is not None:
                    found.append(Found(start, end, call_in_array))
        return found

    def write(self, calls: Sequence[Call]) -> str:
        return "".join(
            f"[TOOL_CALLS]{call.name}{_call_id(call)}[ARGS]{dumps(call.arguments)}" for call in calls
        )

    def new_id(self) -> str:
        return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(9))

    def _call(self, value: Json) -> Call | None:
        call = call_of(value, repair=self.repair)
        given = value.value.get("id") if call else None
        if call and isinstance(given, str) and _ID.fullmatch(given):
            return replace(call, id=given)
        return call


def _call_id(call: Call) -> str:
    return f"[CALL_ID]{call.id}" if _ID.fullmatch(call.id) else ""

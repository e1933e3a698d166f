"""Reads a chat completion, whichever server's objects it is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..result import Usage
from ..usage_block import field, read_usage

#: Fields in which servers send reasoning. They are kept in the history under the name they came with: providers
#: want their own form back (OpenRouter's `reasoning_details` carry signatures).
_REASONING_TEXT = ("reasoning_content", "reasoning")
_REASONING_DETAILS = "reasoning_details"


@dataclass(frozen=True)
class Call:
    """One tool call of an answer."""

    id: str
    name: str
    arguments: str

    def reply(self, content: str) -> dict[str, Any]:
        """Return the tool message that answers this call."""
        return {"role": "tool", "tool_call_id": self.id, "content": content}

    def as_dict(self, arguments: str) -> dict[str, Any]:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": arguments}}


@dataclass(frozen=True)
class Answer:
    #: The assistant's message as it goes into the history.
    message: dict[str, Any]
    calls: list[Call]
    reasoning: str | None
    finish_reason: str | None
    usage: Usage

    def sendable(self) -> dict[str, Any]:
        """Return the message as it may be sent back.

        Chat templates parse the arguments of earlier calls, and servers answer 400 when that fails: the model's
        broken JSON would end as a fault of the endpoint. Such arguments travel as a string inside an object.
        """
        if all(is_object(call.arguments) for call in self.calls):
            return self.message
        calls = [
            call.as_dict(
                call.arguments
                if is_object(call.arguments)
                else json.dumps({"invalid_json": call.arguments}, ensure_ascii=False)
            )
            for call in self.calls
        ]
        return {**self.message, "tool_calls": calls}


def read_answer(completion: Any) -> Answer:
    """Return what `completion` says: an object with `choices[0].message`, as the OpenAI API has it."""
    choice = completion.choices[0]
    said = choice.message
    calls = [_read_call(call, index) for index, call in enumerate(getattr(said, "tool_calls", None) or ())]
    message: dict[str, Any] = {"role": "assistant", "content": said.content}
    for name in (*_REASONING_TEXT, _REASONING_DETAILS):
        if value := field(said, name):
            message[name] = value
    if calls:
        message["tool_calls"] = [call.as_dict(call.arguments) for call in calls]
    return Answer(
        message,
        calls,
        _reasoning(message),
        getattr(choice, "finish_reason", None),
        read_usage(getattr(completion, "usage", None)),
    )


def is_object(text: str) -> bool:
    """Return whether `text` is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _read_call(call: Any, index: int) -> Call:
    """Servers answer with objects; client-side parsers and recorded runs hand out dicts."""
    function = field(call, "function")
    arguments = field(function, "arguments")
    # Some servers leave the id out; replies need one, unique within their turn.
    return Call(
        str(field(call, "id") or f"call_{index}"),
        str(field(function, "name") or ""),
        arguments if isinstance(arguments, str) else "",
    )


def _reasoning(message: dict[str, Any]) -> str | None:
    for name in _REASONING_TEXT:
        if isinstance(message.get(name), str):
            return str(message[name])
    details = message.get(_REASONING_DETAILS)
    if not isinstance(details, list):
        return None
    texts = [field(detail, "text") for detail in details]
    return "".join(text for text in texts if isinstance(text, str)) or None

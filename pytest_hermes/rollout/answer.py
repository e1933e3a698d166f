"""Reads an answer of a model: what it says, what it calls, and whether it is an answer at all."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.sendable import recordable, sendable
from ..models.completion import as_completion
from ..models.finish_reasons import meaning_of
from ..result import Usage
from ..usage_block import read_usage

#: Fields in which servers send reasoning.
_REASONING_TEXT = ("reasoning_content", "reasoning")
_REASONING_DETAILS = "reasoning_details"

#: Names that every API of this kind takes: OpenAI's pattern, and Gemini's rule for the first character.
_SENDABLE_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")


@dataclass(frozen=True)
class Call:
    """One tool call of an answer, in texts that can be written down."""

    #: Unique in its conversation.
    id: str
    name: str
    #: A JSON text, as the model wrote it.
    arguments: str
    #: What else the server says of it. It wants some of that back, such as Gemini's `extra_content`.
    json: Mapping[str, Any] = field(default_factory=dict)

    def reply(self, content: str) -> dict[str, Any]:
        """Return the tool message that answers this call."""
        return {"role": "tool", "tool_call_id": self.id, "content": content}

    def as_dict(self) -> dict[str, Any]:
        """Return the call as it is recorded."""
        return self._with(self.name, self.arguments)

    def sendable(self, tools: Collection[str]) -> dict[str, Any]:
        """Return the call as it may be sent back; `tools` are names that the endpoint takes in any case."""
        name = self.name if self.name in tools else _sendable_name(self.name)
        return self._with(name, _sendable_arguments(self.arguments))

    def _with(self, name: str, arguments: str) -> dict[str, Any]:
        function = {**(self.json.get("function") or {}), "name": name, "arguments": arguments}
        return {**self.json, "id": self.id, "type": "function", "function": function}


@dataclass(frozen=True)
class Answer:
    #: The assistant's message as it is recorded.
    message: dict[str, Any]
    calls: list[Call]
    reasoning: str | None
    finish_reason: str | None
    usage: Usage
    #: The message without its calls, as the server sent it.
    raw: dict[str, Any]

    def sendable(self, tools: Collection[str]) -> dict[str, Any]:
        """Return the message as it may be sent back. `tools` are the names of those that the model was given.

        Endpoints check earlier calls, and their chat templates parse the arguments: a name or a JSON text that the
        model got wrong would end as a fault of the endpoint. Such names are spelled so that they pass, and such
        arguments travel as a string inside an object.
        """
        message = sendable(self.raw)
        return {**message, "tool_calls": [call.sendable(tools) for call in self.calls]} if self.calls else message

    @property
    def stop_reason(self) -> str:
        """Why the agent ends with this answer, if it has no calls; one of `errors.STOP_REASONS`, or `fault`."""
        meaning = meaning_of(self.finish_reason, has_calls=bool(self.calls))
        if meaning in ("length", "context"):
            return meaning
        if self.refusal:
            return "refused"
        if meaning is not None:
            return meaning
        return "finished" if self.text.strip() else "empty"

    @property
    def text(self) -> str:
        """Its content as text, which may come in parts."""
        return _text(self.message.get("content"))

    @property
    def refusal(self) -> str:
        """What the model says instead of an answer that it does not want to give."""
        refusal = self.message.get("refusal")
        return refusal if isinstance(refusal, str) else ""


def read_answer(completion: Any, taken: Collection[str] = ()) -> Answer:
    """Return what a chat completion says, in whatever object or JSON it comes.

    `taken` are ids of earlier calls in the conversation, which none of the new ones gets.
    """
    json_ = as_completion(completion)
    choice = json_["choices"][0]
    message = choice["message"]
    # A null says no more than a field that is missing, and some chat templates write it out.
    raw = {name: value for name, value in message.items() if value is not None and name not in _CALLS}
    raw |= {"role": "assistant", "content": _content(message.get("content"))}
    recorded = recordable(raw)
    calls = _read_calls(message, taken)
    if calls:
        recorded = {**recorded, "tool_calls": [call.as_dict() for call in calls]}
    finish_reason = choice.get("finish_reason")
    return Answer(
        recorded,
        calls,
        _reasoning(recorded),
        finish_reason if isinstance(finish_reason, str) else None,
        read_usage(json_.get("usage")),
        raw,
    )


#: Fields of a message that hold calls; the second is the API's earlier form, of one call without an id.
_CALLS = ("tool_calls", "function_call")


def _content(value: Any) -> Any:
    return value if value is None or isinstance(value, str | list) else str(value)


def _text(content: Any) -> str:
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, Mapping))
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _read_calls(message: Mapping[str, Any], taken: Collection[str]) -> list[Call]:
    listed = message.get("tool_calls")
    found = [call for call in listed if isinstance(call, Mapping)] if isinstance(listed, list | tuple) else []
    if not found and isinstance(message.get("function_call"), Mapping):
        found = [{"function": message["function_call"]}]
    calls: list[Call] = []
    ids = set(taken)
    for call in map(recordable, found):
        function = call.get("function")
        function = function if isinstance(function, Mapping) else {}
        call_id = _unique(call.get("id"), ids)
        ids.add(call_id)
        name = str(function.get("name") or "")
        # A field that is null now was left out, as in the message.
        json_ = {key: value for key, value in call.items() if value is not None and key != "function"}
        calls.append(Call(call_id, name, _arguments(function.get("arguments")), {**json_, "function": function}))
    return calls


def _unique(call_id: Any, ids: Collection[str]) -> str:
    """Return the id of a call, or a new one: some servers leave it out, or give the same one again."""
    if isinstance(call_id, str) and call_id and call_id not in ids:
        return call_id
    # Mistral takes ids of nine letters and digits only.
    number = len(ids)
    while (made := f"call{number:05}") in ids:
        number += 1
    return made


def _arguments(value: Any) -> str:
    """Return arguments as JSON text. llama-server and some gateways send the object itself."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _sendable_name(name: str) -> str:
    if _SENDABLE_NAME.fullmatch(name):
        return name
    spelled = re.sub(r"[^a-zA-Z0-9_-]+", "_", name)
    return (spelled if _SENDABLE_NAME.match(spelled) else f"_{spelled}")[:64]


def _sendable_arguments(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return json.dumps({"invalid_json": sendable(text)}, ensure_ascii=False)
    # Half a character may be written as an escape, which only shows once it is read.
    clean = sendable(value)
    return text if clean is value else json.dumps(clean, ensure_ascii=False)


def _reasoning(message: Mapping[str, Any]) -> str | None:
    for name in _REASONING_TEXT:
        if isinstance(message.get(name), str) and message[name]:
            return str(message[name])
    details = message.get(_REASONING_DETAILS)
    if not isinstance(details, list):
        return None
    texts = [detail.get("text") for detail in details if isinstance(detail, Mapping)]
    return "".join(text for text in texts if isinstance(text, str)) or None

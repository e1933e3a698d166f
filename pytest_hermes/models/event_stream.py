"""A chat completion put together from the stream of server-sent events that some servers send instead.

The format of the events is that of the HTML standard (html.spec.whatwg.org/multipage/server-sent-events.html), the
chunks in them are OpenAI's (platform.openai.com/docs/api-reference/chat-streaming).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

#: Only these end a line: a JSON text may hold others, which `str.splitlines` takes for ends as well.
_LINE_END = re.compile(r"\r\n|\r|\n")

_BEGINNING = re.compile(r"\ufeff?\s*(data|event|id|retry)?:")

#: The data of the event that ends a stream.
_DONE = "[DONE]"

#: Texts that are whole wherever they stand; all others arrive in pieces.
_WHOLE = frozenset({"role", "type", "id", "format", "object", "model"})


class BrokenStream(Exception):
    """A stream ended before its answer did."""


def is_event_stream(text: str) -> bool:
    """Return whether a body is a stream of events."""
    return _BEGINNING.match(text) is not None


def lines_of(text: str) -> list[str]:
    """Return the lines of a stream that was read whole."""
    return _LINE_END.split(text.removeprefix("\ufeff"))


def data_of(lines: Iterable[str]) -> Iterator[str]:
    """Yield the data of each event."""
    data: list[str] = []
    for line in lines:
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []
    if data:  # the standard drops an event that no empty line ends; servers do end with one
        yield "\n".join(data)


def assemble(events: Iterable[str]) -> dict[str, Any]:
    """Return the completion that chunks make up; `events` is the data of each, a JSON text.

    An error among them is the completion's `error`. Raises BrokenStream when the stream ends before the answer, and
    ValueError for an event that is no JSON object.
    """
    completion: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    done = False
    for event in events:
        if event.strip() == _DONE:
            done = True
            break
        chunk = _chunk(event)
        for choice in _dicts(chunk.pop("choices", None)):
            index = _index(choice)
            _add_choice(choices.setdefault(index if index is not None else 0, {}), choice)
        completion.update((name, value) for name, value in chunk.items() if value is not None)
    for choice in choices.values():
        for call in _dicts(choice["message"].get("tool_calls")):
            call.pop("index", None)  # it says where in the stream's list the call belongs, which is done
    completion["object"] = "chat.completion"
    completion["choices"] = [{"index": index, **choices[index]} for index in sorted(choices)]
    ended = done or any(choice.get("finish_reason") for choice in choices.values())
    if not ended and "error" not in completion:
        raise BrokenStream
    return completion


def _chunk(event: str) -> dict[str, Any]:
    try:
        chunk = json.loads(event)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if not isinstance(chunk, dict):
        raise ValueError(f"{event[:80]!r} is not an object")
    return chunk


def _dicts(value: Any) -> list[dict[str, Any]]:
    """Return those elements of a list that are objects; nothing else can be made sense of."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _index(part: Mapping[str, Any]) -> int | None:
    index = part.get("index")
    return index if type(index) is int else None


def _add_choice(choice: dict[str, Any], part: Mapping[str, Any]) -> None:
    # Some end with the message as it would be without a stream.
    if isinstance(whole := part.get("message"), dict) and whole:
        choice["message"] = dict(whole)
    delta = part.get("delta")
    _add(choice.setdefault("message", {}), delta if isinstance(delta, dict) else {})
    _add(choice, {name: value for name, value in part.items() if name not in ("index", "delta", "message")})


def _add(whole: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Add what a chunk brings of an object to what there is of it."""
    for name, value in part.items():
        if value is None:
            whole.setdefault(name, None)
        elif name == "tool_calls" and isinstance(value, list):
            whole[name] = _sum_of_calls(_dicts(whole.get(name)), _dicts(value))
        else:
            whole[name] = _sum(name, whole.get(name), value)


def _sum(name: str, before: Any, value: Any) -> Any:
    if isinstance(value, str) and isinstance(before, str):
        # A name that is sent again in every chunk is not longer for that.
        again = name in _WHOLE or (name == "name" and value == before)
        return (value or before) if again or name == "finish_reason" else before + value
    if isinstance(value, dict):
        merged = dict(before) if isinstance(before, dict) else {}
        _add(merged, value)
        return merged
    if isinstance(value, list):
        return _sum_of_lists(before if isinstance(before, list) else [], value)
    return value


def _sum_of_lists(before: list[Any], values: list[Any]) -> list[Any]:
    """Return a list to which parts were added: those with an index to the element of that index."""
    merged = list(before)
    for value in values:
        index = _index(value) if isinstance(value, dict) else None
        position = None
        if index is not None:
            position = next((i for i, one in enumerate(merged) if isinstance(one, dict) and _index(one) == index), None)
        if position is None:
            merged.append(value)
        else:
            merged[position] = _sum("", merged[position], value)
    return merged


def _sum_of_calls(before: list[dict[str, Any]], parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return tool calls to which parts were added. Not all servers number them: a new id begins a call as well."""
    calls = list(before)
    for part in parts:
        index, call_id = _index(part), part.get("id")
        if index is not None:
            found = [call for call in calls if call.get("index") == index]
        else:
            found = [call for call in calls if call.get("id") == call_id] if call_id else calls
        call = found[-1] if found else None
        if call is None or (call_id and call.get("id") and call["id"] != call_id):
            calls.append(call := {})
        _add(call, part)
    return calls

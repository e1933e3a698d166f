"""Chat completions as plain JSON whose fields are also attributes, as those of the `openai` package's objects are.

The package's own types drop nothing, but they cost half a second to import and a good part of the time of a request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

#: Fields that the API may leave out; the package's types give None for them.
_OPTIONAL = frozenset(
    {
        *("usage", "service_tier", "system_fingerprint"),
        *("finish_reason", "logprobs"),
        *("content", "refusal", "tool_calls", "function_call", "annotations", "audio"),
        # Of servers that have them: code that looks for reasoning should not have to know which.
        *("reasoning", "reasoning_content"),
    }
)


class Completion(dict[str, Any]):
    """A JSON object; `completion.choices[0].message.content` is `completion["choices"][0]["message"]["content"]`."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            if name in _OPTIONAL:
                return None
            raise AttributeError(f"the completion has no field {name!r}")
        value = self[name]
        # Kept, so that what is changed in the value is changed here.
        self[name] = converted = _converted(value)
        return converted

    def model_dump(self) -> dict[str, Any]:
        """Return the JSON as plain dicts and lists."""
        dumped: dict[str, Any] = json.loads(json.dumps(self))
        return dumped


def _converted(value: Any) -> Any:
    if isinstance(value, Completion):
        return value
    if isinstance(value, Mapping):
        return Completion(value)
    if isinstance(value, list):
        value[:] = [_converted(item) for item in value]
    return value


def as_completion(value: Any) -> Completion:
    """Return a chat completion as JSON, whichever server's or client's object it is.

    Any object with the attributes `choices`, `message` and so on is one.
    """
    return value if isinstance(value, Completion) else Completion(_as_json(value))


def _as_json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True, warnings=False)
    if isinstance(value, Mapping):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return {name: _as_json(getattr(value, name)) for name in _attributes(value)}


#: What is looked for in an object that does not say which fields it has.
_FIELDS = (
    *("choices", "message", "finish_reason", "usage"),
    *("role", "content", "tool_calls", "refusal", "reasoning", "reasoning_content", "reasoning_details"),
    *("id", "type", "function", "name", "arguments"),
    *("prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details"),
    *("cached_tokens", "reasoning_tokens", "cost", "cost_details", "is_byok"),
)


def _attributes(value: object) -> Iterator[str]:
    own = {name: None for name in getattr(value, "__dict__", ()) if not name.startswith("_")}
    yield from dict.fromkeys((*own, *(name for name in _FIELDS if hasattr(value, name))))


def answer(
    content: str | None,
    calls: Sequence[Mapping[str, Any]] = (),
    *,
    finish_reason: str | None = None,
    reasoning: str | None = None,
    prompt_tokens: int = 0,
    completion_tokens: int = 0,
) -> Completion:
    """Return a completion made in this process. `calls` are in the form of the API."""
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = list(calls)
    choice = {"index": 0, "message": message, "finish_reason": finish_reason or ("tool_calls" if calls else "stop")}
    return Completion(choices=[choice], usage={"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens})


def text(content: str) -> Completion:
    """Return an answer that is only text."""
    return answer(content)


def call(call_id: str, name: str, arguments: dict[str, Any]) -> Completion:
    """Return an answer that calls one tool."""
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return answer(None, [{"id": call_id, "type": "function", "function": function}])

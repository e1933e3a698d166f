"""A conversation as a text for people, with its tool calls and what they returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: Characters of one message that are shown.
_SHOWN = 4000


def transcript(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return a conversation as text: one paragraph a message, calls as `name(arguments)`."""
    return "\n\n".join(f"[{heading}]\n{text}" for message in messages for heading, text in _paragraphs(message))


def _paragraphs(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    role = str(message.get("role", ""))
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        yield f"{role}, reasoning", _brief(reasoning)
    content = message.get("content")
    calls = [call for call in message.get("tool_calls") or () if isinstance(call, Mapping)]
    if content or not calls:
        yield role, _brief(content if isinstance(content, str) else "" if content is None else str(content))
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        yield f"{role} refuses", _brief(refusal)
    for call in calls:
        function = call.get("function") or {}
        yield f"{role} calls", _brief(f"{function.get('name', '')}({function.get('arguments', '')})")


def _brief(text: str) -> str:
    if len(text) <= _SHOWN:
        return text
    return f"{text[: _SHOWN // 2]}\n… {len(text) - _SHOWN} characters left out …\n{text[-_SHOWN // 2 :]}"

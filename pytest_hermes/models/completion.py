"""Chat completions made in this process, in the shape of the OpenAI API's objects.

The `openai` package has these types too, but importing it takes half a second that `oracle` and `nop` do not need.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Function:
    name: str
    #: A JSON text.
    arguments: str


@dataclass(frozen=True)
class ToolCall:
    id: str
    function: Function
    type: str = "function"


@dataclass(frozen=True)
class Message:
    content: str | None
    #: In this shape, or in that of a parser.
    tool_calls: Sequence[ToolCall | Mapping[str, Any]] | None = None
    role: str = "assistant"
    reasoning_content: str | None = None


@dataclass(frozen=True)
class Choice:
    message: Message
    finish_reason: str
    index: int = 0


@dataclass(frozen=True)
class Tokens:
    """The `usage` block of an answer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Completion:
    choices: Sequence[Choice]
    usage: Tokens = field(default_factory=Tokens)


def text(content: str) -> Completion:
    """Return an answer that is only text."""
    return Completion([Choice(Message(content), "stop")])


def call(call_id: str, name: str, arguments: dict[str, Any]) -> Completion:
    """Return an answer that calls one tool."""
    function = Function(name, json.dumps(arguments, ensure_ascii=False))
    return Completion([Choice(Message(None, [ToolCall(call_id, function)]), "tool_calls")])

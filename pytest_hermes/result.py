"""What an agent leaves: its conversation, how it ended, what went wrong on the way, what it used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ToolError:
    """One tool call that did not work; the model was told why and the loop went on."""

    #: Index of the model call that asked for the tool, from 0.
    turn: int
    tool_name: str
    #: The arguments as the model wrote them.
    arguments: str
    error: str
    #: The tool message the model received.
    tool_result: str


@dataclass(frozen=True)
class Usage:
    """Tokens, as the endpoint counts them. Adding two sums every field."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    #: Part of `prompt_tokens` that came from the provider's cache.
    cached_tokens: int = 0
    #: Part of `completion_tokens` spent on reasoning.
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


@dataclass
class AgentResult:
    """What `HermesAgentLoop.run` returns."""

    #: The full conversation, as OpenAI chat messages (dicts).
    messages: list[dict[str, Any]] = field(default_factory=list)
    #: Model calls made.
    turns_used: int = 0
    #: True when the model stopped on its own.
    finished_naturally: bool = False
    #: The reasoning of each turn, None where the model gave none.
    reasoning_per_turn: list[str | None] = field(default_factory=list)
    tool_errors: list[ToolError] = field(default_factory=list)
    #: State of a token-exact server; None with chat completions.
    managed_state: dict[str, Any] | None = None
    #: `finished`, `max_turns`, `time`, `tokens`, `context` (the window is full) or `length` (the last answer
    #: was cut off); empty while the loop runs.
    stop_reason: str = ""
    usage: Usage = field(default_factory=Usage)

"""What an agent leaves: its conversation, how it ended, what went wrong on the way, what it used."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models.tokens.trace import TokenTrace

#: Sums of money are exact: with the 28 digits of the default context, long sums of floats' noise are not. There are no
#: traps, so that what is not an amount raises nothing.
_EXACT = Context(prec=200, traps=[])

#: Digits before and after the point of dollars: others are not written out.
_WHOLE_DIGITS = 15
_PLACES = 200


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
class AskedAgain:
    """One answer that could not be used; the model was asked the same again."""

    #: Index of the model call, from 0.
    turn: int
    #: What the agent's stop reason would have been: `malformed`, `filtered`, `refused` or `empty`.
    why: str
    #: What the model or its endpoint said, if anything.
    text: str = ""


@dataclass(frozen=True)
class Usage:
    """Tokens, as the endpoint counts them, and what they cost. Adding two sums every field."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    #: Part of `prompt_tokens` that came from the provider's cache.
    cached_tokens: int = 0
    #: Part of `completion_tokens` spent on reasoning.
    reasoning_tokens: int = 0
    #: Dollars; None when they are not known, or not of all that was added.
    cost: Decimal | None = Decimal(0)
    #: Who says so: `provider`, `genai-prices`, or both, joined by a `+`; None where nothing was charged or known.
    cost_source: str | None = None

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            *self._sum_of_costs(other),
        )

    def _sum_of_costs(self, other: Usage) -> tuple[Decimal | None, str | None]:
        if self.cost is None or other.cost is None:
            return None, None
        sources = {name for usage in (self, other) for name in (usage.cost_source or "").split("+") if name}
        return add_exactly(self.cost, other.cost), "+".join(sorted(sources)) or None


def add_exactly(*amounts: Decimal) -> Decimal:
    """Return the sum of amounts of money without rounding."""
    total = Decimal(0)
    for amount in amounts:
        total = _EXACT.add(total, amount)
    return total


def dollars(amount: Decimal) -> str:
    """Return an amount as people read it: `$1.20`, and as many digits more as it has."""
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or amount.adjusted() >= _WHOLE_DIGITS or exponent < -_PLACES:
        return f"${amount:.3g}"
    text = f"{amount:f}"
    whole, _, cents = text.partition(".")
    return f"${int(whole):,}.{cents.rstrip('0').ljust(2, '0')}"


@dataclass(frozen=True)
class AgentRun:
    """One of several runs of an agent that make up one result."""

    #: How many of the result's messages are of this run.
    messages: int
    turns_used: int
    stop_reason: str
    usage: Usage
    seconds: float
    #: Kind and message of the infrastructure error that it ended with.
    error: str | None = None


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
    #: Answers that could not be used. They count as turns, and are not among the messages.
    asked_again: list[AskedAgain] = field(default_factory=list)
    #: The tokens as they were sampled, of a model that tells them; None with chat completions.
    trace: TokenTrace | None = None
    #: One of `errors.STOP_REASONS`; empty while the loop runs.
    stop_reason: str = ""
    usage: Usage = field(default_factory=Usage)
    #: Where several runs make up this result, each of them, in their order.
    runs: list[AgentRun] = field(default_factory=list)

    @property
    def acted(self) -> bool:
        """Whether the model called a tool."""
        return any(message.get("tool_calls") for message in self.messages)

    @property
    def managed_state(self) -> dict[str, Any] | None:
        """The trace as nodes, one a segment, in the terms of Atropos's managed server; None without a trace."""
        if self.trace is None:
            return None
        return {
            "nodes": [
                {"tokens": one.tokens, "masked_tokens": one.masks, "logprobs": one.inference_logprobs()}
                for one in self.trace.segments
            ]
        }

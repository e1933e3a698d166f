"""Reads the `usage` block of a chat completion, whichever server's object it is."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from .core.amounts import count, money
from .result import Usage, add_exactly


def field(source: Any, name: str) -> Any:
    """Return a field of an object or of a mapping, None where it has none of that name."""
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)


def read_usage(usage: Any) -> Usage:
    """Return what an answer used, by its `usage` block. What is not in it is 0 tokens, and a cost that is not known."""
    cost = _read_cost(usage)
    prompt = field(usage, "prompt_tokens_details")
    completion = field(usage, "completion_tokens_details")
    return Usage(
        prompt_tokens=count(field(usage, "prompt_tokens")),
        completion_tokens=count(field(usage, "completion_tokens")),
        cached_tokens=count(field(prompt, "cached_tokens")),
        reasoning_tokens=count(field(completion, "reasoning_tokens")),
        cost=cost,
        cost_source=None if cost is None else "provider",
    )


def _read_cost(usage: Any) -> Decimal | None:
    """Return what the provider says an answer cost, as OpenRouter does.

    With a key of one's own for the provider behind it, `cost` is only OpenRouter's share.
    https://openrouter.ai/docs/use-cases/usage-accounting
    """
    cost = money(field(usage, "cost"))
    if cost is None or field(usage, "is_byok") is not True:
        return cost
    upstream = money(field(field(usage, "cost_details"), "upstream_inference_cost"))
    return None if upstream is None else add_exactly(cost, upstream)

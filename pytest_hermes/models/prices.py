"""What answers cost where the provider does not say: list prices, from the `genai-prices` package if installed."""

from __future__ import annotations

import functools
from dataclasses import replace
from decimal import Decimal
from typing import Any

from ..result import Usage

#: The `cost_source` of what is computed here.
SOURCE = "genai-prices"


def with_list_price(usage: Usage, model: str, address: str) -> Usage:
    """Return the usage of one answer with its list price. It stays unknown for a model or provider without one.

    The provider is told by the address alone: a model of the same name on a server of one's own costs something else.
    """
    package = _package()
    # An endpoint that counts no tokens did not answer for free.
    if usage.cost is not None or package is None or not usage.total_tokens:
        return usage
    tokens = package.Usage(
        input_tokens=usage.prompt_tokens,
        cache_read_tokens=usage.cached_tokens,
        output_tokens=usage.completion_tokens,
    )
    try:
        cost = Decimal(package.calc_price(tokens, model, provider_api_url=address).total_price)
    except (LookupError, ValueError):  # unknown, or counts that contradict each other
        return usage
    return replace(usage, cost=cost, cost_source=SOURCE)


@functools.cache
def _package() -> Any:
    try:
        import genai_prices
    except ImportError:
        return None
    return genai_prices

"""Costs: list prices by address and model, and sums that lose nothing."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.models.builtin import NopSource
from pytest_hermes.models.endpoint import Endpoint
from pytest_hermes.models.keys import OPENAI, OPENROUTER, Address
from pytest_hermes.models.prices import SOURCE, with_list_price
from pytest_hermes.result import Usage, add_exactly, dollars

USED = Usage(prompt_tokens=1_000_000, completion_tokens=1000, cost=None)


def test_a_list_price_is_that_of_the_model_at_its_provider() -> None:
    priced = with_list_price(USED, "gpt-4o", OPENAI)
    assert priced.cost is not None
    assert 0 < priced.cost < 100
    assert priced.cost_source == SOURCE
    cached = with_list_price(Usage(1_000_000, 1000, 500_000, cost=None), "gpt-4o", OPENAI)
    assert cached.cost is not None
    assert 0 < cached.cost < priced.cost


def test_an_endpoint_knows_its_address_and_model() -> None:
    priced = Endpoint("anthropic/claude-sonnet-4", Address(OPENROUTER, "k")).priced(USED)
    assert priced.cost_source == SOURCE
    assert priced.cost == with_list_price(USED, "anthropic/claude-sonnet-4", OPENROUTER).cost


@pytest.mark.parametrize(
    ("usage", "model", "address"),
    [
        (USED, "a-model-nobody-sells", OPENAI),
        (USED, "gpt-4o", "http://localhost:8000/v1"),  # what somebody else calls so
        (Usage(cost=None), "gpt-4o", OPENAI),  # no tokens counted
        (Usage(10, 1, cached_tokens=20, cost=None), "gpt-4o", OPENAI),  # no sense in it
    ],
)
def test_what_has_no_list_price_stays_unknown(usage: Usage, model: str, address: str) -> None:
    assert with_list_price(usage, model, address) == usage
    assert usage.cost is None


def test_the_provider_s_own_figure_wins() -> None:
    own = Usage(1000, 10, cost=Decimal("0.5"), cost_source="provider")
    assert with_list_price(own, "gpt-4o", OPENAI) == own


def test_builtin_models_are_free() -> None:
    assert NopSource().priced(Usage(cost=None)) == Usage()


amounts = st.decimals(min_value=0, max_value=10**6, places=18)


@given(st.lists(amounts, max_size=30))
def test_sums_are_exact_in_any_order(costs: list[Decimal]) -> None:
    exact = sum((Fraction(cost) for cost in costs), Fraction(0))
    assert Fraction(add_exactly(*costs)) == exact
    total = Usage()
    for cost in reversed(costs):
        total += Usage(cost=cost, cost_source="provider")
    assert total.cost is not None
    assert Fraction(total.cost) == exact


def test_a_sum_remembers_its_sources_and_what_is_missing() -> None:
    provider, listed = Usage(cost=Decimal(1), cost_source="provider"), Usage(cost=Decimal(2), cost_source=SOURCE)
    assert (provider + listed).cost_source == "genai-prices+provider"
    assert (Usage() + provider).cost_source == "provider"
    unknown = provider + Usage(1, cost=None)
    assert (unknown.cost, unknown.cost_source, (unknown + listed).cost) == (None, None, None)


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "$0.00"), ("1.5", "$1.50"), ("0.30", "$0.30"), ("1234567.125", "$1,234,567.125"), ("1E-7", "$0.0000001")],
)
def test_dollars(amount: str, text: str) -> None:
    assert dollars(Decimal(amount)) == text

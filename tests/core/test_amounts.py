from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.core.amounts import count, money, seconds
from pytest_hermes.result import Usage, add_exactly, dollars
from pytest_hermes.usage_block import read_usage

strange = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.decimals(), st.lists(st.none()),
    st.sampled_from(["1e999999", "1e-999999", "-1", "NaN", "sNaN", "Infinity", 10**5000, -(10**5000), "9" * 5000]),
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "number", "amount"),
    [
        (7, 7, Decimal(7)),
        ("7", 7, Decimal(7)),
        (7.0, 7, Decimal("7.0")),
        (0.1, 0, Decimal("0.1")),
        ("1e-7", 0, Decimal("1e-7")),
        (-7, 0, None),
        ("seven", 0, None),
        (float("nan"), 0, None),
        ("Infinity", 0, None),
        (True, 0, None),
        ("1e999999", 0, None),
        ("1e-999999", 0, Decimal(0)),
        pytest.param(10**5000, 0, None, id="long"),
        ({"prompt": 7}, 0, None),
    ],
)
def test_what_is_not_a_number_of_tokens_or_dollars(value: object, number: int, amount: Decimal | None) -> None:
    assert count(value) == number
    assert money(value) == amount
    assert seconds(value) == (0 if amount is None else float(amount))


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("prompt_tokens", "completion_tokens", "cost"), strange)))
def test_every_usage_block_can_be_added_and_shown(block: dict[str, Any]) -> None:
    usage = read_usage(block) + Usage(cost=Decimal("0.01"), cost_source="provider")
    assert usage.prompt_tokens >= 0
    assert usage.completion_tokens >= 0
    assert usage.cost is None or len(dollars(usage.cost)) < 100


@given(st.lists(st.decimals(), min_size=1))
def test_every_sum_of_dollars_can_be_shown(amounts: list[Decimal]) -> None:
    assert dollars(add_exactly(*amounts)).startswith("$")


def test_a_usage_block_that_is_none_is_no_usage() -> None:
    blocks: list[object] = [None, "usage", 7, [], {"prompt_tokens_details": "none"}]
    for block in blocks:
        assert read_usage(block) == Usage(cost=None)

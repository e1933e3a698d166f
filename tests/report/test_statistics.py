from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.report.statistics import estimate_mean


def wilson(passed: int, n: int) -> tuple[float, float]:
    z = 1.959963984540054
    p = passed / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


@pytest.mark.parametrize(("passed", "n"), [(0, 14), (14, 14), (7, 14), (1, 3), (81, 100)])
def test_one_binary_attempt_a_task_gives_the_wilson_interval(passed: int, n: int) -> None:
    scores = {str(i): [1.0 if i < passed else 0.0] for i in range(n)}
    estimate = estimate_mean(scores)
    assert estimate is not None
    low, high = wilson(passed, n)
    assert (estimate.mean, estimate.n) == (passed / n, n)
    assert estimate.low == pytest.approx(low)
    assert estimate.high == pytest.approx(high)


def test_repeating_the_same_attempt_of_each_task_adds_no_certainty() -> None:
    once = estimate_mean({"a": [1.0], "b": [0.0], "c": [1.0], "d": [1.0]})
    often = estimate_mean({"a": [1.0] * 9, "b": [0.0] * 9, "c": [1.0] * 9, "d": [1.0] * 9})
    assert once is not None
    assert often is not None
    assert often.n == 36
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_independent_attempts_add_certainty() -> None:
    flip = random.Random(7)
    attempts = {str(i): [float(flip.random() < 0.5) for _ in range(9)] for i in range(20)}
    once = estimate_mean({task: scores[:1] for task, scores in attempts.items()})
    often = estimate_mean(attempts)
    assert once is not None
    assert often is not None
    assert often.high - often.low < once.high - once.low


def test_scores_outside_0_to_1_get_a_symmetric_interval() -> None:
    estimate = estimate_mean({"a": [-2.0], "b": [4.0], "c": [1.0]})
    assert estimate is not None
    assert estimate.high - estimate.mean == pytest.approx(estimate.mean - estimate.low)


def test_no_scores_give_no_estimate() -> None:
    assert estimate_mean({}) is None
    assert estimate_mean({"a": []}) is None


@given(st.dictionaries(st.text(max_size=3), st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=1, max_size=20))
def test_the_interval_holds_the_mean_and_stays_within_0_and_1(scores: dict[str, list[float]]) -> None:
    estimate = estimate_mean(scores)
    assert estimate is not None
    assert 0 <= estimate.low <= estimate.mean + 1e-12
    assert estimate.mean - 1e-12 <= estimate.high <= 1

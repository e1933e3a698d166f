from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_hermes.report.statistics import estimate_mean, mean_score


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


def test_another_range_gets_a_bootstrap_interval_over_tasks() -> None:
    draw = random.Random(3)
    scores = {str(task): [draw.uniform(-1, 1)] for task in range(200)}
    estimate = estimate_mean(scores, reward_range=(-1, 1))
    assert estimate is not None
    assert estimate.method == "bootstrap"
    # Of so many it is close to the normal one.
    half = 1.96 * statistics.pstdev(score for task in scores.values() for score in task) / math.sqrt(200)
    assert estimate.low == pytest.approx(estimate.mean - half, abs=half / 10)
    assert estimate.high == pytest.approx(estimate.mean + half, abs=half / 10)
    # The same every time, whichever task ended first.
    assert estimate_mean(dict(reversed(scores.items())), reward_range=(-1, 1)) == estimate


def test_attempts_of_one_task_are_no_tasks_of_a_bootstrap() -> None:
    draw = random.Random(5)
    once = {str(task): [draw.uniform(-1, 1)] for task in range(40)}
    often = {task: scores * 10 for task, scores in once.items()}
    one, ten = (estimate_mean(scores, reward_range=(-1, 1)) for scores in (once, often))
    assert one is not None
    assert ten is not None
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high))


@pytest.mark.parametrize("scores", [{"a": [0.5]}, {"a": [-1.0], "b": [-1.0]}, {"a": [2.0, -2.0], "b": [0.0]}])
def test_a_bootstrap_that_would_see_nothing_gives_way_to_wilson(scores: dict[str, list[float]]) -> None:
    estimate = estimate_mean(scores, reward_range=(-2, 2))
    assert estimate is not None
    assert estimate.method == "wilson"
    assert estimate.high - estimate.low > 0.5
    scaled = estimate_mean({task: [(score + 2) / 4 for score in found] for task, found in scores.items()})
    assert scaled is not None
    assert (estimate.low, estimate.high) == pytest.approx((4 * scaled.low - 2, 4 * scaled.high - 2))


def test_scores_beyond_the_range_widen_it() -> None:
    """Records of earlier versions have no range."""
    estimate = estimate_mean({"a": [-2.0], "b": [4.0], "c": [1.0]})
    assert estimate is not None
    assert estimate.method == "bootstrap"
    assert -2 <= estimate.low < estimate.mean < estimate.high <= 4


def test_the_mean_alone() -> None:
    assert mean_score({"a": [1.0, 0.0], "b": [0.5]}) == 0.5
    assert mean_score({"a": []}) is None


def test_no_scores_give_no_estimate() -> None:
    assert estimate_mean({}) is None
    assert estimate_mean({"a": []}) is None


@given(st.dictionaries(st.text(max_size=3), st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=1, max_size=20))
def test_the_interval_holds_the_mean_and_stays_within_0_and_1(scores: dict[str, list[float]]) -> None:
    estimate = estimate_mean(scores)
    assert estimate is not None
    assert 0 <= estimate.low <= estimate.mean + 1e-12
    assert estimate.mean - 1e-12 <= estimate.high <= 1


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.text(max_size=3), st.lists(st.floats(-3, 5), min_size=1, max_size=4), min_size=1, max_size=12)
)
def test_an_interval_of_any_range_holds_the_mean_and_is_no_point(scores: dict[str, list[float]]) -> None:
    estimate = estimate_mean(scores, reward_range=(-3, 5))
    assert estimate is not None
    assert -3 <= estimate.low <= estimate.mean + 1e-12
    assert estimate.mean - 1e-12 <= estimate.high <= 5
    means = [math.fsum(task) / len(task) for task in scores.values()]
    if max(means) - min(means) > 1e-6 or max(means) == min(means):
        assert estimate.high > estimate.low

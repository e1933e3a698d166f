"""Whatever stands in a results file: a line is a record that every report can show, or it is none."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pytest_hermes.plugin.outcomes import describe_error, describe_failure, how_it_ended, properties_of
from pytest_hermes.report.spending import known_cost, unrecorded_text
from pytest_hermes.report.statistics import estimate_mean
from pytest_hermes.report.summary import summary_lines
from pytest_hermes.report.validation import validation_lines
from pytest_hermes.result import Usage
from pytest_hermes.rollout.record import AttemptRecord

NOW = datetime(2026, 1, 2, tzinfo=UTC)

numbers = st.one_of(
    st.sampled_from([0, 1, -1, 0.5, math.nan, math.inf, -math.inf, 1.7e308, -1.7e308, 5e-324, 10**400, None, True]),
    st.sampled_from(["1e999999", "-1", "NaN", "Infinity", "seven", "1.5"]),
)
texts = st.sampled_from(["a", "b", "", "lone \ud800", "two\nlines"])
usage = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("prompt_tokens", "completion_tokens", "cached_tokens", "cost"), numbers)
    | {"cost_source": st.sampled_from(["provider", "genai-prices", "genai-prices+provider", "somebody", None])},
)  # fmt: skip
seconds = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("queue", "sandbox_start", "model", "backoff", "tools", "verifier", "total"), numbers)
)
error = st.fixed_dictionaries({"kind": texts, "message": texts})
earlier = st.fixed_dictionaries({"kind": texts, "message": texts, "usage": usage})
records = st.fixed_dictionaries(
    {
        "run_id": st.just("r"), "benchmark": st.just("b"), "task": texts, "backend": st.just("local"),
        "model": st.sampled_from(["m", "oracle", "oracle-same", "nop"]), "started": st.just(NOW), "ended": st.just(NOW),
        "status": st.sampled_from(["passed", "failed", "error", "skipped"]),
    },
    optional={
        "reward": numbers, "threshold": numbers, "reward_range": st.tuples(numbers, numbers), "error": error,
        "reason": texts, "category": texts, "difficulty": texts, "turns_used": numbers, "retries": numbers,
        "attempt": numbers, "usage": usage, "judge_usage": usage, "seconds": seconds,
        "reward_source": st.sampled_from(["judge", "heuristic"]),
        "verifier": st.fixed_dictionaries({}, optional={"tampered": texts, "disagreement": texts, "mode": texts}),
        "earlier_errors": st.lists(earlier, max_size=1),
        "metrics": st.dictionaries(texts, numbers, max_size=1),
    },
)  # fmt: skip


def shown(found: list[AttemptRecord]) -> Iterator[str]:
    yield from summary_lines(found, 5)
    yield from validation_lines(found)
    for record in found:
        yield how_it_ended(record)
        yield from (f"{name}={value}" for name, value in properties_of(record))
        if record.status == "failed":
            yield describe_failure(record)
        if record.status == "error":
            yield describe_error(record)
    spent = Usage(prompt_tokens=10**13, cost=Decimal(1), cost_source="provider")
    yield str(known_cost(spent, found))
    yield str(unrecorded_text(spent, found))


@settings(max_examples=100)
@given(st.lists(records, min_size=1, max_size=4))
def test_every_record_can_be_shown(values: list[dict[str, Any]]) -> None:
    found = []
    for one in values:
        with contextlib.suppress(ValidationError):
            found.append(AttemptRecord.model_validate(one))
    assert all(len(line) < 1000 for line in shown(found))


@given(st.dictionaries(texts, st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3)))
def test_a_mean_lies_within_its_interval_and_that_within_the_range(scores: dict[str, list[float]]) -> None:
    estimate = estimate_mean(scores)
    if estimate is not None:
        every = [0.0, 1.0, *(score for task in scores.values() for score in task)]
        assert min(every) <= estimate.low <= estimate.mean <= estimate.high <= max(every)

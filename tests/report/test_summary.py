"""The lines on a run's score."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pytest_hermes.report.summary import summary_lines
from pytest_hermes.rollout.record import AttemptRecord


def record(task: str, reward: float, **values: Any) -> AttemptRecord:
    now = datetime.now(UTC)
    return AttemptRecord(
        run_id="r", benchmark="b", task=task, status="passed", reward=reward, model="m", backend="local", started=now,
        ended=now, **values,
    )  # fmt: skip


def score_line(*records: AttemptRecord) -> str:
    return summary_lines(records, len(records))[0]


def test_the_interval_is_named_where_it_is_a_bootstrap() -> None:
    assert score_line(record("a", 1.0), record("b", 0.0)).startswith(
        "score     0.500  (95 % interval 0.095 to 0.905, n"
    )
    wide = [record(task, reward, reward_range=(-1, 1)) for task, reward in (("a", 1.0), ("b", -1.0), ("c", 0.0))]
    assert score_line(*wide) == "score     0.000  (95 % bootstrap interval -1.000 to 1.000, n = 3)"
    # One that was written before there were ranges.
    assert "bootstrap interval" in score_line(record("a", 2.0), record("b", 0.0))
    # All tasks alike: no bootstrap, and no point either.
    alike = score_line(*(record(task, -1.0, reward_range=(-1, 1)) for task in "abc"))
    assert alike == "score     -1.000  (95 % interval -1.000 to 0.123, n = 3)"

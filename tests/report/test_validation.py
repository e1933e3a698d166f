"""The report on a benchmark whose oracle and nop ran."""

from __future__ import annotations

from datetime import UTC, datetime

from pytest_hermes.errors import Status
from pytest_hermes.report.validation import validation_lines
from pytest_hermes.rollout.record import AttemptRecord

SOUND: list[tuple[str, Status]] = [("oracle", "passed"), ("nop", "failed")]


def record(task: str, model: str, status: Status, attempt: int = 1) -> AttemptRecord:
    now = datetime.now(UTC)
    return AttemptRecord(
        run_id="r", benchmark="b", task=task, attempt=attempt, status=status, model=model, backend="local", started=now,
        ended=now,
    )  # fmt: skip


def test_each_attempt_counts() -> None:
    records = [
        *(record("steady", model, status, n) for n in (1, 2) for model, status in SOUND),
        *(record("flaky", model, status) for model, status in SOUND),
        record("flaky", "oracle", "failed", 2),
        record("flaky", "oracle", "passed", 3),
        *(record("lenient", model, status) for model, status in SOUND),
        record("lenient", "nop", "passed", 2),
        record("lenient", "nop", "failed", 3),
    ]
    assert list(validation_lines(records)) == [
        "sound         1 of 3 tasks: the oracle passes, and nop does not",
        "oracle fails  flaky",
        "nop passes    lenient",
        "flaky         flaky, lenient",
    ]

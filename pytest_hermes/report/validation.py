"""What a benchmark's validation found: its oracle must pass every task, and doing nothing must pass none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..rollout.record import AttemptRecord

_LABEL = 14


def validation_lines(records: Sequence[AttemptRecord]) -> Iterator[str]:
    """Yield the lines for the attempts of one benchmark, by the models `oracle` and `nop`."""
    by_task: dict[str, dict[str, AttemptRecord]] = {}
    for record in records:
        by_task.setdefault(record.task, {})[record.model] = record
    sound = [task for task, found in by_task.items() if _passes(found, "oracle") and _status(found, "nop") == "failed"]
    yield f"{'sound':<{_LABEL}}{len(sound)} of {len(by_task)} tasks: the oracle passes, and nop does not"
    for label, tasks in {
        "oracle fails": [task for task, found in by_task.items() if _status(found, "oracle") == "failed"],
        "nop passes": [task for task, found in by_task.items() if _passes(found, "nop")],
        "no oracle": [
            task
            for task, found in by_task.items()
            if _status(found, "oracle") == "skipped" and _status(found, "nop") != "skipped"
        ],
    }.items():
        if tasks:
            yield f"{label:<{_LABEL}}{', '.join(sorted(tasks))}"
    for label, status in (("error", "error"), ("skipped", "skipped")):
        for task, found in sorted(by_task.items()):
            concerned = [record for record in found.values() if record.status == status]
            if concerned and (status == "error" or len(concerned) == len(found)):
                record = concerned[0]
                why = record.error.message if record.error else record.reason
                yield f"{label:<{_LABEL}}{task} ({', '.join(record.model for record in concerned)}): {why}"


def _status(found: dict[str, AttemptRecord], model: str) -> str | None:
    return found[model].status if model in found else None


def _passes(found: dict[str, AttemptRecord], model: str) -> bool:
    return _status(found, model) == "passed"

"""What a benchmark's validation found: its oracle must pass every task, and doing nothing must pass none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .numbers import counted

if TYPE_CHECKING:
    from ..rollout.record import AttemptRecord

_LABEL = 14


def validation_lines(records: Sequence[AttemptRecord]) -> Iterator[str]:
    """Yield the lines for the attempts of one benchmark, by the models `oracle` and `nop`."""
    by_task: dict[str, list[AttemptRecord]] = {}
    for record in records:
        by_task.setdefault(record.task, []).append(record)
    # Of several attempts all must be so: an oracle that fails once in a while is no oracle.
    sound = [
        task
        for task, found in by_task.items()
        if _statuses(found, "oracle") == {"passed"} and _statuses(found, "nop") == {"failed"}
    ]
    yield f"{'sound':<{_LABEL}}{len(sound)} of {counted(len(by_task), 'task')}: the oracle passes, and nop does not"
    for label, tasks in {
        "oracle fails": [task for task, found in by_task.items() if "failed" in _statuses(found, "oracle")],
        "nop passes": [task for task, found in by_task.items() if "passed" in _statuses(found, "nop")],
        "no oracle": [
            task
            for task, found in by_task.items()
            if _statuses(found, "oracle") == {"skipped"} and _statuses(found, "nop") - {"skipped"}
        ],
    }.items():
        if tasks:
            yield f"{label:<{_LABEL}}{', '.join(sorted(tasks))}"
    for label, status in (("error", "error"), ("skipped", "skipped")):
        for task, found in sorted(by_task.items()):
            concerned = [record for record in found if record.status == status]
            if concerned and (status == "error" or len(concerned) == len(found)):
                record = concerned[0]
                why = record.error.message if record.error else record.reason
                models = dict.fromkeys(record.model for record in concerned)
                yield f"{label:<{_LABEL}}{task} ({', '.join(models)}): {why}"


def _statuses(found: Sequence[AttemptRecord], model: str) -> set[str]:
    return {record.status for record in found if record.model == model}

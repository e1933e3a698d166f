"""What a benchmark's validation found: its oracle must pass every task, and doing nothing must pass none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .numbers import counted

if TYPE_CHECKING:
    from ..rollout.record import AttemptRecord

_LABEL = 14
_ORACLE = "oracle"


def validation_lines(records: Sequence[AttemptRecord]) -> Iterator[str]:
    """Yield the lines for the attempts of one benchmark, by the models `oracle` and `nop`.

    An oracle that ran in several verifier modes has the name of each behind its own: `oracle-same`.
    """
    by_task = _by_task(records)
    oracles = list(dict.fromkeys(record.model for record in records if record.model.startswith(_ORACLE)))
    # Of several attempts all must be so: an oracle that fails once in a while is no oracle.
    sound = [
        task
        for task, found in by_task.items()
        if any(_statuses(found, oracle) == {"passed"} for oracle in oracles) and _statuses(found, "nop") == {"failed"}
    ]
    in_a_mode = " in some mode" if len(oracles) > 1 else ""
    yield (
        f"{'sound':<{_LABEL}}{len(sound)} of {counted(len(by_task), 'task')}: "
        f"the oracle passes{in_a_mode}, and nop does not"
    )
    if len(oracles) > 1:
        yield from _modes(by_task, oracles)
    for label, tasks in {
        "oracle fails": [
            task for task, found in by_task.items() if all("failed" in _statuses(found, oracle) for oracle in oracles)
        ],
        "nop passes": [task for task, found in by_task.items() if "passed" in _statuses(found, "nop")],
        "no oracle": [
            task
            for task, found in by_task.items()
            if all(_statuses(found, oracle) == {"skipped"} for oracle in oracles)
            and _statuses(found, "nop") - {"skipped"}
        ],
        "flaky": flaky_tasks(records),
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


def flaky_tasks(records: Sequence[AttemptRecord]) -> list[str]:
    """Return the tasks of which attempts by the same model, in the same mode, passed and failed."""
    by_task = _by_task(records)
    models = {record.model for record in records}
    return sorted(
        task
        for task, found in by_task.items()
        if any(_statuses(found, model) >= {"passed", "failed"} for model in models)
    )


def _modes(by_task: Mapping[str, Sequence[AttemptRecord]], oracles: Sequence[str]) -> Iterator[str]:
    for oracle in oracles:
        passes = [task for task, found in by_task.items() if _statuses(found, oracle) == {"passed"}]
        fails = sorted(task for task, found in by_task.items() if "failed" in _statuses(found, oracle))
        mode = oracle.removeprefix(f"{_ORACLE}-")
        but = f"; fails in {', '.join(fails)}" if fails else ""
        yield f"{mode:<{_LABEL}}the oracle passes {len(passes)} of {counted(len(by_task), 'task')}{but}"


def _by_task(records: Sequence[AttemptRecord]) -> dict[str, list[AttemptRecord]]:
    by_task: dict[str, list[AttemptRecord]] = {}
    for record in records:
        by_task.setdefault(record.task, []).append(record)
    return by_task


def _statuses(found: Sequence[AttemptRecord], model: str) -> set[str]:
    """Return the statuses of a model's attempts. A solution that the second of two modes refuses has failed."""
    return {
        "failed" if record.verifier is not None and record.verifier.disagreement else record.status
        for record in found
        if record.model == model
    }

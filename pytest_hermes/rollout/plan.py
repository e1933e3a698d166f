"""Which attempts a run consists of."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..benchmark import Benchmark, Item
from ..errors import UsageError
from ..suggest import unknown
from ..task import Task


@dataclass(frozen=True)
class PlannedTask:
    """One task of a benchmark, with the item it was made from."""

    benchmark: Benchmark
    item: Item
    task: Task


async def set_up(benchmark: Benchmark, limit: int | None = None) -> None:
    """Run a benchmark's `setup()`, which is to provide at most `limit` tasks (None: all).

    Raises UsageError, naming the benchmark, when that fails, and for an endless one without a limit.
    """
    if benchmark.endless and limit is None:
        raise UsageError(f"benchmark {benchmark.name!r} has no end of tasks: say how many with --hermes-limit=N")
    benchmark.limit = limit
    try:
        await benchmark.setup()
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"setup() of benchmark {benchmark.name!r} failed: {type(error).__name__}: {error}") from error


def enumerate_tasks(benchmark: Benchmark) -> list[PlannedTask]:
    """Return the tasks of a benchmark whose `setup()` has run.

    Raises UsageError, naming the benchmark, when an item cannot be used, ids are not unique or there are none.
    """
    planned: dict[str, PlannedTask] = {}
    try:
        for item in benchmark.tasks():
            task = benchmark.to_task(item)
            if task.id in planned:
                raise UsageError(f"benchmark {benchmark.name!r} has two tasks with the id {task.id!r}")
            planned[task.id] = PlannedTask(benchmark, item, task)
    except (ValueError, TypeError) as error:
        raise UsageError(f"benchmark {benchmark.name!r}: {error}") from error
    if not planned:
        raise UsageError(f"benchmark {benchmark.name!r} has no tasks")
    return list(planned.values())


def select(planned: Iterable[PlannedTask], wanted: Sequence[str], skipped: Sequence[str]) -> list[PlannedTask]:
    """Return the tasks whose id matches one of `wanted` (all, when it is empty) and none of `skipped`.

    Both hold ids or globs. Raises UsageError for one that matches no task, and when nothing is left.
    """
    tasks = list(planned)
    ids = [task.task.id for task in tasks]
    for pattern in (*wanted, *skipped):
        if not fnmatch.filter(ids, pattern) and pattern not in ids:
            raise UsageError(unknown("task", pattern, ids))
    left = [
        task for task in tasks if (not wanted or _matches(task.task.id, wanted)) and not _matches(task.task.id, skipped)
    ]
    if not left:
        raise UsageError("no task is left: --hermes-task and --hermes-skip-task exclude each other")
    return left


def first(planned: Iterable[PlannedTask], limit: int | None) -> list[PlannedTask]:
    """Return the first `limit` tasks of each benchmark, all of them without a limit."""
    counts: Counter[int] = Counter()
    chosen = []
    for task in planned:
        counts[id(task.benchmark)] += 1
        if limit is None or counts[id(task.benchmark)] <= limit:
            chosen.append(task)
    return chosen


def _matches(task_id: str, patterns: Sequence[str]) -> bool:
    return any(task_id == pattern or fnmatch.fnmatchcase(task_id, pattern) for pattern in patterns)

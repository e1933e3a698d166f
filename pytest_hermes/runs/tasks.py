"""Which tasks a benchmark has, and which of them are wanted."""

from __future__ import annotations

import asyncio
import fnmatch
from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar, cast

from ..background import LoopRunner
from ..benchmark import Benchmark, Item
from ..core.awaiting import awaited, discard, is_asynchronous
from ..core.one_line import shown
from ..core.source import user_line
from ..core.suggest import unknown
from ..errors import UsageError
from ..rollout.plan import PlannedTask
from ..task import Task
from .attributes import check_attributes
from .load_errors import blaming, called, wrong_return

T = TypeVar("T")

_END = object()


def load_tasks(benchmark: Benchmark, limit: int | None, loop: LoopRunner) -> list[PlannedTask]:
    """Run a benchmark's `setup()` on `loop` and return its tasks; `tasks()` itself runs here unless it is `async`.

    So Ctrl-C ends it when this is the main thread. Raises UsageError, as `set_up` and `enumerate_tasks` do.
    """
    _run(loop, benchmark, "setup", set_up(benchmark, limit))
    with _blaming(benchmark, "tasks"):
        given: object = benchmark.tasks()
        asynchronous = is_asynchronous(given)
    if asynchronous:
        given = _run(loop, benchmark, "tasks", _awaited(benchmark, given))
    return _planned(benchmark, given)


def _run(loop: LoopRunner, benchmark: Benchmark, method: str, coro: Coroutine[Any, Any, T]) -> T:
    try:
        return loop.run(coro)
    except asyncio.CancelledError as error:
        # Nobody else is there to cancel it.
        raise UsageError(f"{_who(benchmark)}: {called(type(benchmark), method)} cancelled its own task") from error


async def set_up(benchmark: Benchmark, limit: int | None = None) -> None:
    """Run a benchmark's `setup()`, which was configured to provide at most `limit` tasks (None: all).

    Raises UsageError, naming the benchmark, when that fails, and for an endless one without a limit.
    """
    if benchmark.endless and limit is None:
        raise UsageError(f"benchmark {benchmark.name!r} has endless tasks: set a limit with --hermes-limit=N")
    with _blaming(benchmark, "setup"):
        await awaited(benchmark.setup())
    # It may set some, the revision of a dataset for one.
    check_attributes(benchmark, set_up=True)


async def enumerate_tasks(benchmark: Benchmark) -> list[PlannedTask]:
    """Return the tasks of a benchmark whose `setup()` has run.

    Raises UsageError, naming the benchmark and the line of its code, when `tasks()` fails, an item cannot be used, ids
    are not unique or there are none.
    """
    with _blaming(benchmark, "tasks"):
        given: object = benchmark.tasks()
    return _planned(benchmark, await _awaited(benchmark, given))


async def _awaited(benchmark: Benchmark, given: object) -> object:
    with _blaming(benchmark, "tasks"):
        return await awaited(given)


def _planned(benchmark: Benchmark, given: object) -> list[PlannedTask]:
    if isinstance(given, str | bytes | Mapping | Task) or not isinstance(given, Iterable):
        raise wrong_return(_who(benchmark), type(benchmark), "tasks", given, "Task objects or dicts")
    planned: dict[str, PlannedTask] = {}
    with _blaming(benchmark, "tasks"):
        items = iter(given)
    number = 0
    while True:
        with _blaming(benchmark, "tasks"):
            item = next(items, _END)
        if item is _END:
            break
        number += 1
        task = _task_of(benchmark, item, number)
        if task.id in planned:
            raise UsageError(f"benchmark {benchmark.name!r} has two tasks with the id {task.id!r}")
        planned[task.id] = PlannedTask(benchmark, cast(Item, item), task)
    if not planned:
        raise UsageError(f"benchmark {benchmark.name!r} has no tasks")
    return list(planned.values())


def _task_of(benchmark: Benchmark, item: Any, number: int) -> Task:
    who, cls = _who(benchmark), type(benchmark)
    # Whoever overrides to_task decides what it takes.
    if cls.to_task is Benchmark.to_task and not isinstance(item, Task | Mapping):
        discard(item)
        raise UsageError(
            f"{who}: item {number} of {called(cls, 'tasks')} is {shown(item)}; it must be a Task or a dict"
        )
    with blaming(who, cls, "to_task", number):
        try:
            task = benchmark.to_task(item)
        except ValueError as error:
            if user_line(error):
                raise
            # What this package's own code says of an item: there is no line to look at but that of tasks().
            raise UsageError(f"{who}: item {number} of {called(cls, 'tasks')}: {error}") from error
    if not isinstance(task, Task):
        raise wrong_return(who, cls, "to_task", task, "a Task", number)
    return task


def _who(benchmark: Benchmark) -> str:
    return f"benchmark {benchmark.name!r}"


def _blaming(benchmark: Benchmark, method: str) -> AbstractContextManager[None]:
    return blaming(_who(benchmark), type(benchmark), method)


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
        raise UsageError("no task is left: --hermes-task and --hermes-skip-task together exclude all of them")
    return left


def read_patterns(patterns: Sequence[str], ids: Sequence[str], cwd: Path) -> list[str]:
    """Return ids and globs; `@FILE` stands for the lines of that file that match one of `ids`.

    Empty lines and comments (`#`) say nothing. Raises UsageError when the file cannot be read.
    """
    found: list[str] = []
    for pattern in patterns:
        if not pattern.startswith("@"):
            found.append(pattern)
            continue
        try:
            lines = (cwd / pattern[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not a UTF-8 text file"
            raise UsageError(f"cannot read the tasks in {pattern[1:]}: {why}") from error
        listed = [line.strip() for line in lines if not line.lstrip().startswith("#")]
        # It may be of a larger benchmark, or of several.
        found += [line for line in listed if line in ids or fnmatch.filter(ids, line)]
    return found


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

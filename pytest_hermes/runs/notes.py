"""What people should know about a benchmark's tasks, in as few lines as it takes."""

from __future__ import annotations

from collections.abc import Iterable

from ..benchmark import Benchmark
from ..task import Task

#: Tasks that a line names.
_NAMED = 3


def notes_of(benchmark: Benchmark, tasks: Iterable[Task]) -> list[str]:
    """Return the notes of a benchmark and of its tasks, a line each; tasks with the same note share one."""
    by_note: dict[str, list[str]] = {}
    for task in tasks:
        for note in task.notes:
            by_note.setdefault(note, []).append(task.id)
    return [*benchmark.notes, *(f"{_named(ids)}: {note}" for note, ids in by_note.items())]


def _named(ids: list[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more

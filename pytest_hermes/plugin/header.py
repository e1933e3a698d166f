"""What the header of a session says of its run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..report.numbers import counted, duration
from ..result import dollars
from ..runs.notes import notes_of
from ..runs.results_file import FILE_NAME

if TYPE_CHECKING:
    from ..rollout.budget import BudgetLimits
    from ..runs.plan import LoadedBenchmark, RunPlan


#: Notes about tasks that are shown.
_NOTES = 5


def header_lines(plan: RunPlan, processes: int) -> list[str]:
    """Return what runs, where, and what it is held to, a line each."""
    lines = [_benchmark_line(loaded, plan) for loaded in plan.benchmarks]
    if plan.judge is not None:
        lines.append(f"judge {plan.judge.name} at {plan.judge.address}")
    if plan.folder is not None and plan.folder.resumed:
        foreign = plan.folder.foreign_lines
        skipped = f"; {counted(foreign, 'line')} of {FILE_NAME} skipped: not records of attempts" if foreign else ""
        finished = counted(len(plan.folder.finished), "attempt")
        lines.append(f"resuming {plan.options.resume}: {finished} finished{skipped}")
    in_processes = "1 process" if processes == 1 else f"{processes} processes"
    if not plan.options.validate:
        lines += [line for loaded in plan.benchmarks for line in _mode_lines(loaded)]
    rollouts = counted(plan.in_flight, "rollout")
    lines.append(f"sandbox {plan.isolation}, {rollouts} in flight in {in_processes}")
    lines += plan.notes
    lines += _task_notes(plan)
    if any(loaded.source.calls is not None for loaded in plan.benchmarks):
        lines.append(f"at most {counted(plan.in_flight, 'model call')} in flight, fewer after a 429 or 503")
    if limits := _in_words(plan.budget_limits):
        lines.append(f"at most {limits} for the run")
    if plan.judge is not None and (limits := _in_words(plan.judge_limits)):
        lines.append(f"at most {limits} for the judge")
    return [f"hermes: {line}" for line in lines]


def _benchmark_line(loaded: LoadedBenchmark, plan: RunPlan) -> str:
    source, attempts = loaded.source, plan.attempts_per_task
    where = f" at {source.address}" if source.address else ""
    if loaded.chose_its_model and not plan.options.validate:
        where += " (the default; choose with --hermes-model)"
    tasks = counted(len(loaded.tasks), "task")
    if loaded.benchmark.revision:
        tasks += f" of revision {loaded.benchmark.revision[:12]}"
    each = f" × {attempts} attempts" if attempts > 1 else ""
    return f"{loaded.benchmark.name}, {tasks}{each}, model {source.name}{where}"


def _task_notes(plan: RunPlan) -> list[str]:
    """Return the notes of all benchmarks and their tasks, the first few of them."""
    # A validation has each benchmark several times.
    tasks = {loaded.benchmark: [planned.task for planned in loaded.tasks] for loaded in plan.benchmarks}
    notes = [f"{benchmark.name}: {note}" for benchmark in tasks for note in notes_of(benchmark, tasks[benchmark])]
    more = len(notes) - _NOTES
    return notes[:_NOTES] + ([f"{counted(more, 'more note')}: --hermes-list shows all"] if more > 0 else [])


def _mode_lines(loaded: LoadedBenchmark) -> Iterator[str]:
    """Yield what the user's choice of a verifier mode means for some of the tasks."""
    chosen, name = loaded.config.env.verifier, loaded.benchmark.name
    if chosen is None or "verifier" not in loaded.benchmark.config_fields:
        return
    wanted = [loaded.benchmark.verifier_mode(planned.item) for planned in loaded.tasks]
    if overridden := sum(mode not in (None, chosen) for mode in wanted):
        yield f"--hermes-verifier={chosen} overrides what {counted(overridden, 'task')} of {name} asked for"
    if exempt := loaded.modes.exempt:
        tasks = counted(len(exempt), "task")
        yield f"mode same alone for {tasks} of {name}, whose own solution fails in {chosen}"


def _in_words(limits: BudgetLimits) -> str:
    parts = [dollars(limits.cost)] if limits.cost is not None else []
    parts += [counted(limits.tokens, "token")] if limits.tokens is not None else []
    parts += [counted(limits.turns, "turn")] if limits.turns is not None else []
    parts += [duration(limits.seconds)] if limits.seconds is not None else []
    return " and ".join([*([", ".join(parts[:-1])] if parts[1:] else []), *parts[-1:]])

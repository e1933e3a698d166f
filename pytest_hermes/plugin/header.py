"""What the header of a session says of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..report.numbers import duration
from ..result import dollars

if TYPE_CHECKING:
    from ..rollout.budget import BudgetLimits
    from ..runs.plan import LoadedBenchmark, RunPlan


def header_lines(plan: RunPlan, processes: int) -> list[str]:
    """Return what runs, where, and what it is held to, a line each."""
    lines = [_benchmark_line(loaded, plan.attempts_per_task) for loaded in plan.benchmarks]
    if plan.judge is not None:
        lines.append(f"judge {plan.judge.name} at {plan.judge.address}")
    if plan.folder is not None and plan.folder.resumed:
        lines.append(f"resuming {plan.options.resume}: {len(plan.folder.finished)} attempts are finished")
    in_processes = "1 process" if processes == 1 else f"{processes} processes"
    lines.append(f"sandbox {plan.isolation}, {plan.in_flight} in flight in {in_processes}")
    lines += plan.notes
    if any(loaded.source.calls is not None for loaded in plan.benchmarks):
        lines.append(f"at most {plan.in_flight} model calls in flight, fewer after a 429 or 503")
    if limits := _in_words(plan.budget_limits):
        lines.append(f"at most {limits} for the run")
    if plan.judge is not None and (limits := _in_words(plan.judge_limits)):
        lines.append(f"at most {limits} for the judge")
    return [f"hermes: {line}" for line in lines]


def _benchmark_line(loaded: LoadedBenchmark, attempts: int) -> str:
    source = loaded.source
    where = f" at {source.address}" if source.address else ""
    if loaded.chose_its_model:
        where += " (the default; choose with --hermes-model)"
    tasks = f"{len(loaded.tasks)} task{'' if len(loaded.tasks) == 1 else 's'}"
    if loaded.benchmark.revision:
        tasks += f" of revision {loaded.benchmark.revision[:12]}"
    each = f" × {attempts} attempts" if attempts > 1 else ""
    return f"{loaded.benchmark.name}, {tasks}{each}, model {source.name}{where}"


def _in_words(limits: BudgetLimits) -> str:
    said = [dollars(limits.cost)] if limits.cost is not None else []
    said += [f"{limits.tokens:,} tokens"] if limits.tokens is not None else []
    said += [f"{limits.turns:,} turns"] if limits.turns is not None else []
    said += [duration(limits.seconds)] if limits.seconds is not None else []
    return " and ".join([*([", ".join(said[:-1])] if said[1:] else []), *said[-1:]])

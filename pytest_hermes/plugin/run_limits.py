"""What a run is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..report.numbers import duration
from ..result import dollars
from ..rollout.budget import BudgetLimits

if TYPE_CHECKING:
    from .bench_run import BenchRun
    from .options import Options


def budget_limits(options: Options) -> BudgetLimits:
    """Return what the whole run may use."""
    return BudgetLimits(
        cost=options.max_cost, tokens=options.max_tokens, turns=options.max_turns, seconds=options.max_seconds
    )


def judge_limits(options: Options) -> BudgetLimits:
    """Return what the judge may use in the whole run."""
    return BudgetLimits(cost=options.judge_max_cost, of_judge=True)


def _in_words(limits: BudgetLimits) -> str:
    said = [dollars(limits.cost)] if limits.cost is not None else []
    said += [f"{limits.tokens:,} tokens"] if limits.tokens is not None else []
    said += [f"{limits.turns:,} turns"] if limits.turns is not None else []
    said += [duration(limits.seconds)] if limits.seconds is not None else []
    return " and ".join([*([", ".join(said[:-1])] if said[1:] else []), *said[-1:]])


class RunLimits:
    """Says it in the header."""

    def __init__(self, run: BenchRun) -> None:
        self._run = run

    def pytest_report_header(self) -> list[str]:
        lines = []
        if any(loaded.source.calls is not None for loaded in self._run.benchmarks):
            lines.append(f"hermes: at most {self._run.in_flight} model calls in flight, fewer after a 429 or 503")
        if limits := _in_words(budget_limits(self._run.options)):
            lines.append(f"hermes: at most {limits} for the run")
        if self._run.judge is not None and (limits := _in_words(judge_limits(self._run.options))):
            lines.append(f"hermes: at most {limits} for the judge")
        return lines

"""What a run consists of, once everything that it names is loaded and checked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..benchmark import Benchmark
from ..config.options import DEFAULT_IN_FLIGHT, Options
from ..config.settings import Config, Layer
from ..core.redact import Redactor
from ..models.protocol import ModelSource
from ..rollout.budget import BudgetLimits
from ..rollout.plan import AttemptPlan, PlannedTask
from ..tools.tool import Tool
from .folder import RunFolder
from .resume import AttemptKey
from .selection import Selection
from .verifier_modes import Found


@dataclass(frozen=True)
class LoadedBenchmark:
    benchmark: Benchmark
    config: Config
    source: ModelSource
    tools: tuple[Tool, ...]
    tasks: list[PlannedTask]
    #: What is known about its tasks in the verifier modes that they would have.
    modes: Found = field(default_factory=Found)

    @property
    def chose_its_model(self) -> bool:
        """Whether the user left that to the benchmark."""
        return self.config.origin("openai.model_name").layer is Layer.BENCHMARK


@dataclass(frozen=True)
class PlannedAttempt:
    """An attempt of a task, with how many there are of it."""

    planned: PlannedTask
    loaded: LoadedBenchmark
    #: From 1.
    number: int
    #: How many attempts each task has.
    of: int = 1
    #: Whether it validates the benchmark, rather than measuring a model.
    validates: bool = False

    @property
    def key(self) -> AttemptKey:
        return self.planned.benchmark.name, self.planned.task.id, self.number, self.loaded.source.name

    def __str__(self) -> str:
        benchmark, task, number, model = self.key
        return f"{benchmark}::{task}@{number}" + (f"@{model}" if self.validates else "")

    def work(self, *, hold: bool = False) -> AttemptPlan:
        """Return what the engine is to do; `hold` keeps the sandbox open until it is released."""
        loaded, task = self.loaded, self.planned.task.id
        config = loaded.config.verified("same") if task in loaded.modes.exempt else loaded.config
        skip = loaded.modes.unsolvable.get(task)
        return AttemptPlan(self.planned, self.number, loaded.source, config.env, loaded.tools, hold, skip)


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What a run consists of, and what it is held to. `runs.load` makes it of options."""

    options: Options = field(default_factory=Options)
    #: None: nothing is written down.
    folder: RunFolder | None = None
    run_id: str = ""
    benchmarks: Sequence[LoadedBenchmark] = ()
    #: The model that scores by `ctx.judge`, where there is one.
    judge: ModelSource | None = None
    #: Attempts in flight, of all processes together except in a worker, which has its own share.
    in_flight: int = DEFAULT_IN_FLIGHT
    redactor: Redactor = field(default_factory=lambda: Redactor(()))
    selections: Sequence[Selection] = ()
    #: How the sandboxes separate commands from the host, for people.
    isolation: str = ""
    #: Lines for people: what configures the run, and what of that has no effect.
    notes: Sequence[str] = ()
    #: When the tasks were known, by the monotonic clock: the run's time counts from then.
    began: float = field(default_factory=time.monotonic)

    @property
    def budget_limits(self) -> BudgetLimits:
        """What the whole run may use."""
        options = self.options
        return BudgetLimits(
            cost=options.max_cost, tokens=options.max_tokens, turns=options.max_turns, seconds=options.max_seconds
        )

    @property
    def judge_limits(self) -> BudgetLimits:
        """What the judge may use in the whole run."""
        return BudgetLimits(cost=self.options.judge_max_cost, of_judge=True)

    @property
    def attempts_per_task(self) -> int:
        return max(self.options.attempts or 1, self.options.validate)

    def attempts(self) -> Iterator[PlannedAttempt]:
        """Yield all attempts, or those that the selections ask for."""
        for loaded in self.benchmarks:
            for planned in loaded.tasks:
                for number in self._numbers(loaded.benchmark.name, planned.task.id):
                    yield PlannedAttempt(planned, loaded, number, self.attempts_per_task, bool(self.options.validate))

    def _numbers(self, bench: str, task: str) -> list[int]:
        numbers = list(range(1, self.attempts_per_task + 1))
        if not self.selections:
            return numbers
        here = [selection for selection in self.selections if selection.covers(bench, task)]
        # An attempt's own id runs again whatever --hermes-attempts says this time.
        named = [selection.attempt for selection in here if selection.attempt is not None]
        return sorted({*named, *(numbers if any(selection.attempt is None for selection in here) else ())})

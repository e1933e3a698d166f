"""The benchmarks of one pytest session: what was asked for, loaded and checked, and the engine that runs it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue

from ..background import BackgroundLoop
from ..benchmark import Benchmark
from ..config.settings import Config, Layer
from ..errors import UsageError
from ..judging import Judging
from ..models.embedded import NopSource, OracleSource
from ..models.limiter import CallLimiter, CallLimiters
from ..models.protocol import ModelSource
from ..models.retry import retry_policy
from ..redact import Redactor
from ..result import Usage
from ..rollout.attempt import AttemptPlan
from ..rollout.budget import Budget
from ..rollout.catalog import load_benchmark
from ..rollout.configured import sandbox_of, tools_of
from ..rollout.engine import Engine
from ..rollout.judge import JudgeModel
from ..rollout.places import attempt_place
from ..rollout.plan import PlannedTask, first, load_tasks, select
from ..rollout.record import AttemptRecord
from ..rollout.results_file import ResultsFile, cannot_write
from ..rollout.resume import MANIFEST, AttemptKey, Manifest, RunLock, earlier_run
from ..rollout.run import RUNS_DIR, new_run_id
from ..sandbox.activity import activities
from ..tools.tool import Tool
from .configuration import Configuration, judge_source, model_source
from .finished_handle import FinishedHandle
from .node_ids import Selection
from .options import Options
from .rollouts import Handle
from .run_facts import run_facts
from .run_limits import budget_limits, judge_limits
from .standing import Standing
from .user_outcomes import meaning_of


@dataclass(frozen=True)
class LoadedBenchmark:
    benchmark: Benchmark
    config: Config
    source: ModelSource
    tools: tuple[Tool, ...]
    tasks: list[PlannedTask]

    @property
    def chose_its_model(self) -> bool:
        """Whether the user left that to the benchmark."""
        return self.config.origin("openai.model_name").layer is Layer.BENCHMARK


@dataclass(frozen=True)
class PlannedItem:
    """One test item: an attempt of a task."""

    planned: PlannedTask
    loaded: LoadedBenchmark
    number: int
    #: How many attempts each task has.
    of: int
    #: Whether it validates the benchmark, rather than measuring a model.
    validates: bool = False

    @property
    def key(self) -> AttemptKey:
        return self.planned.benchmark.name, self.planned.task.id, self.number, self.loaded.source.name


class BenchRun:
    """Loads everything the options name; raises UsageError for what does not exist or does not fit."""

    def __init__(
        self,
        options: Options,
        *,
        selections: list[Selection],
        in_flight: int,
        cwd: Path,
        processes: int = 1,
    ) -> None:
        """`in_flight` is the number of all `processes` together, except in a worker, which has its own share."""
        self.options = options
        self.in_flight = in_flight
        self.processes = processes
        self.attempts = options.attempts or 1
        self.configuration = Configuration(options, cwd)
        #: How the sandboxes separate commands from the host, for the header.
        self.isolation = ""
        self.loop = BackgroundLoop(name="hermes-engine")
        #: Finished attempts, without their conversations, in the order they ended.
        self.records: list[AttemptRecord] = []
        #: Calls of benchmarks' code that blocked the event loop, a line each.
        self.blocked: list[str] = []
        self.redactor = Redactor.from_environment(os.environ, self.configuration.secrets)
        self._selections = selections
        self._engine: Engine | None = None
        self._results: ResultsFile | None = None
        self._closed = False
        self._lock = RunLock()
        #: Bytes of its results by then.
        self.results_before = 0
        #: The model that scores by `ctx.judge`, and with its budget once the tasks are known; None: there is none.
        self.judge_source: ModelSource | None = None
        self.judge: JudgeModel | None = None
        #: Attempts of an earlier session of this run, which are only reported.
        self.finished: Mapping[AttemptKey, AttemptRecord] = {}
        try:
            self.benchmarks = self._load(cwd)
        except BaseException:
            self.loop.close()
            raise
        self.model_name = ", ".join(dict.fromkeys(loaded.source.name for loaded in self.benchmarks))
        try:
            self.run_id, self.run_dir = self._identity(cwd)
        except BaseException:
            self.close()
            raise
        #: When the tasks were known, by the monotonic clock: the run's time counts from then.
        self.began = time.monotonic()
        if self.judge_source is not None:
            self.judge = self._make_judge(self.judge_source)

    def _identity(self, cwd: Path) -> tuple[str, Path]:
        """Return the run's id and the folder of its results."""
        if self.options.resume is not None:
            return self._resume(self.options.resume, cwd)
        names = dict.fromkeys(loaded.benchmark.name for loaded in self.benchmarks)
        run_id = new_run_id(list(names), self.model_name)
        return run_id, cwd / (self.options.run_dir or RUNS_DIR / run_id)

    def _resume(self, name: str, cwd: Path) -> tuple[str, Path]:
        folder = cwd / name
        if self.options.run_dir is not None and cwd / self.options.run_dir != folder:
            raise UsageError("a run that is resumed goes on in its own folder: leave out --hermes-run-dir")
        if self.options.validate:
            raise UsageError("a validation cannot be resumed: leave out --hermes-resume")
        if (folder / MANIFEST).exists():
            self._lock.take(folder)
        earlier = earlier_run(
            folder,
            self._facts,
            force=self.options.resume_force,
            retry_errors=self.options.retry_errors,
            name=name,
        )
        self.finished, self.results_before = earlier.finished, earlier.size
        return earlier.run_id, folder

    @property
    def _facts(self) -> dict[str, JsonValue]:
        return run_facts(self.benchmarks, self.judge_source, self.options.task_timeout, self.redactor)

    def _begin(self) -> None:
        """Write down what the run is, for who resumes it."""
        try:
            if self.options.resume is None:
                self._lock.take(self.run_dir, patience=0)
        except UsageError:
            pass  # several runs may share a folder; only one of them can be resumed
        except OSError as error:
            raise cannot_write(self.run_dir, error) from error
        try:
            Manifest(run_id=self.run_id, facts=self._facts).write(self.run_dir)
        except OSError as error:
            raise cannot_write(self.run_dir, error) from error

    def _load(self, cwd: Path) -> list[LoadedBenchmark]:
        specs = list(dict.fromkeys(self.options.bench or [selection.bench for selection in self._selections]))
        benchmarks = [load_benchmark(spec, cwd) for spec in specs]
        names = [benchmark.name for benchmark in benchmarks]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"two benchmarks are called {name!r}; their node ids would be the same")
        configs = [self.configuration.configure(benchmark) for benchmark in benchmarks]
        self.isolation = ", ".join(dict.fromkeys(sandbox_of(config).describe() for config in configs))
        tools = [tools_of(config) for config in configs]
        # The model first: a missing key should not cost the minutes that a dataset takes to load.
        calls = CallLimiters(self.in_flight)
        policy = retry_policy(self.options.request_timeout)
        sources = [
            OracleSource()
            if self.options.validate
            else model_source(config, f"benchmark {benchmark.name!r}", calls=calls, policy=policy)
            for benchmark, config in zip(benchmarks, configs, strict=True)
        ]
        self.judge_source = judge_source(self.options, CallLimiter(self.in_flight))
        for benchmark in benchmarks:
            if benchmark.uses_judge and self.judge_source is None:
                raise UsageError(
                    f"benchmark {benchmark.name!r} is scored by a judge model: add --hermes-judge-model=NAME"
                )
        chosen = self._chosen_tasks(benchmarks)
        loaded = [
            LoadedBenchmark(*parts, [task for task in chosen if task.benchmark is parts[0]])
            for parts in zip(benchmarks, configs, sources, tools, strict=True)
        ]
        if self.options.validate:
            return [replace(each, source=source) for each in loaded for source in (each.source, NopSource())]
        return loaded

    def _chosen_tasks(self, benchmarks: list[Benchmark]) -> list[PlannedTask]:
        limit = self.options.limit
        tasks = [task for benchmark in benchmarks for task in load_tasks(benchmark, limit, self.loop)]
        chosen = first(self.configuration.choose(tasks), limit)
        for selection in self._selections:
            mine = [task for task in chosen if task.benchmark.name == selection.bench]
            if selection.task is not None:
                select(mine, [selection.task], ())
        return chosen

    def items(self) -> Iterable[PlannedItem]:
        """Yield the session's items: all attempts, or those that node ids on the command line select."""
        for loaded in self.benchmarks:
            name = loaded.benchmark.name
            for planned in loaded.tasks:
                for number in self._numbers(name, planned.task.id):
                    yield PlannedItem(planned, loaded, number, self.attempts, self.options.validate)

    def _numbers(self, bench: str, task: str) -> list[int]:
        numbers = list(range(1, self.attempts + 1))
        if not self._selections:
            return numbers
        here = [selection for selection in self._selections if selection.covers(bench, task)]
        # An attempt's own id runs again whatever --hermes-attempts says this time.
        named = [selection.attempt for selection in here if selection.attempt is not None]
        return sorted({*named, *(numbers if any(selection.attempt is None for selection in here) else ())})

    @property
    def standing(self) -> Standing:
        """How the rollouts stand at this moment."""
        if self._engine is None:
            return Standing()
        limiters = [calls for loaded in self.benchmarks if (calls := loaded.source.calls) is not None]
        calls = min(limiters, key=lambda calls: calls.limit - calls.maximum, default=None)
        return Standing(
            self._engine.in_flight,
            self._engine.budget.spent_here,
            calls.limit if calls is not None else 0,
            calls.maximum if calls is not None else 0,
            activities(),
            Usage() if self.judge is None else self.judge.budget.spent_here,
            tuple(self.blocked),
            tuple(self._engine.problems),
        )

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            self._engine = self._make_engine()
        return self._engine

    def _make_engine(self) -> Engine:
        self._begin()
        self._results = ResultsFile(self.run_dir, self.redactor)
        return Engine(
            limit=self.in_flight,
            run_id=self.run_id,
            results=self._results,
            task_timeout=self.options.task_timeout,
            on_record=self.records.append,
            loop=self.loop,
            budget=self._budget(),
            infra_retries=self.options.infra_retries or 0,
            classify=meaning_of,
            on_blocked=self._tell_blocked,
            make_judging=self._new_judging,
        )

    def _tell_blocked(self, line: str) -> None:
        """Take a line of the watchdog's thread, for who shows how the run stands."""
        self.blocked.append(line)

    def _budget(self) -> Budget:
        return Budget(budget_limits(self.options), began=self.began)

    def _judge_budget(self) -> Budget:
        return Budget(judge_limits(self.options))

    def _make_judge(self, source: ModelSource) -> JudgeModel:
        budget = self._judge_budget()

        def end_run() -> None:
            # Without a judge the rest cannot be scored.
            if self._engine is not None:
                self._engine.budget.end(budget.exhausted or "")

        budget.watch(end_run)
        return JudgeModel(source, budget, lambda: self.loop.loop)

    def _new_judging(self) -> Judging:
        return Judging() if self.judge is None else self.judge.new_judging()

    @property
    def halted(self) -> tuple[str, str] | None:
        """The kind and the message of what kept this run from being done to its end, None when nothing did."""
        engine = self._engine
        if engine is None or engine.fatal is None or engine.fatal_kind is None:
            return None
        cut = engine.cancelled or any(record.error and record.error.kind == "budget" for record in self.records)
        # A budget that the last attempt of all used up has cost nothing.
        if not cut and engine.fatal_kind not in ("results", "stopped"):
            return None
        return engine.fatal_kind, self.redactor.text(engine.fatal)

    @property
    def results_path(self) -> Path | None:
        """Where results were written, None while there are none."""
        return self._results.path if self._results is not None else None

    def refresh(self) -> None:
        """Bring `records` up to date; where the rollouts run in this process, it always is."""

    def submit(self, item: PlannedItem, key: str, *, hold: bool) -> Handle:
        """Run the item's attempt, unless an earlier session of this run has finished it."""
        if (record := self.finished.get(item.key)) is not None:
            self._report(record)
            return self._finished_handle(record, item, key)
        return self._submit(item, key, hold=hold)

    def _finished_handle(self, record: AttemptRecord, item: PlannedItem, key: str) -> FinishedHandle:
        planned = item.planned
        place = attempt_place(item.loaded.config.env, key, lambda: planned.benchmark.sandbox(planned.item))
        return FinishedHandle(record, place, key, self._new_judging())

    def _report(self, record: AttemptRecord) -> None:
        self.records.append(record)

    def _submit(self, item: PlannedItem, key: str, *, hold: bool) -> Handle:
        plan = AttemptPlan(
            item.planned, item.number, item.loaded.source, item.loaded.config.env, item.loaded.tools, hold
        )
        return self.engine.submit(plan, key)

    def check_alive(self) -> None:
        """Give the run up if its event loop has ended, by whatever a benchmark's code did to it."""
        if self._engine is not None and not self._engine.abandoned and not self.loop.alive:
            self._engine.abandon("the run ended, since code of a benchmark has broken its event loop")

    @property
    def _abandoned(self) -> bool:
        """Whether the loop is blocked for good: nothing there can be waited for."""
        return self._engine is not None and self._engine.abandoned

    def close(self) -> None:
        """End what is in flight, close its sandboxes, connections and the results file. May be called twice."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._engine is not None:
                self._engine.stop()
            if not self._abandoned:
                for loaded in self.benchmarks:
                    self.loop.run(loaded.source.close())
                if self.judge_source is not None:
                    self.loop.run(self.judge_source.close())
        finally:
            self.loop.close(timeout=0 if self._abandoned else 5)
            self._lock.release()
            if self._results is not None:
                self._results.close()

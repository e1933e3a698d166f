"""The two sides of a run in several processes: xdist's controller, and its workers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..benchmark import Benchmark
from ..rollout.budget import Budget, SharedBudget
from ..rollout.engine import Engine
from ..rollout.plan import PlannedTask
from ..rollout.record import AttemptRecord
from ..rollout.results_file import FILE_NAME
from ..rollout.results_follower import ResultsFollower
from ..rollout.resume import AttemptKey, key_of
from .bench_run import BenchRun, PlannedItem
from .rollouts import Handle
from .run_limits import budget_limits, judge_limits
from .shared_folder import SharedFolder
from .standing import Standing, read_standing, total, write_standing
from .task_index import TaskIndex, read_index, write_index

#: Seconds between two looks of a worker at what it may have to tell.
TELL_EVERY = 1.0


class ControllerRun(BenchRun):
    """Enumerates the tasks and tells how the run stands; its rollouts run in the workers."""

    def __init__(self, *arguments: Any, shared: SharedFolder, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._begin()
        by_benchmark = {loaded.benchmark: loaded.tasks for loaded in self.benchmarks}
        write_index(
            shared.index,
            [task for tasks in by_benchmark.values() for task in tasks],
            run_id=self.run_id,
            run_dir=self.run_dir,
            began=self.began,
            finished=dict(self.finished),
            results_before=self.results_before,
        )
        self.records += [self.finished[item.key] for item in self.items() if item.key in self.finished]
        self._shared = shared
        self._standings: dict[str, Standing] = {}
        self._ended: set[str] = set()
        self._follower = ResultsFollower(self.run_dir / FILE_NAME, self.run_id, self.results_before)
        self.total = self.planned().total()
        self._crashes: dict[str, int] = {}

    @property
    def standing(self) -> Standing:
        return total(self._standings.values())

    @property
    def results_path(self) -> Path | None:
        path = self.run_dir / FILE_NAME
        return path if path.exists() else None

    def planned(self) -> Counter[tuple[str, str]]:
        """Return how many items each benchmark has with each model."""
        return Counter((item.planned.benchmark.name, item.loaded.source.name) for item in self.items())

    def refresh(self) -> None:
        self.records += [record.without_conversation() for record in self._follower.new()]
        for worker, path in self._shared.standings():
            standing = read_standing(path)
            if worker in self._ended:
                standing = replace(standing, in_flight=0, calls=0, calls_at_most=0, activities=())
            self._standings[worker] = standing

    def forget(self, worker: str) -> None:
        """A worker has ended: nothing of it is in flight any more, whatever it wrote last."""
        self._ended.add(worker)

    def share_of(self, worker: int) -> int:
        """Return how many rollouts worker number `worker`, from 0, may have in flight."""
        return self.in_flight // self.processes + (worker % self.processes < self.in_flight % self.processes)

    def count_crash(self, node_id: str) -> int:
        """Return how many workers have died with this item."""
        self._crashes[node_id] = self._crashes.get(node_id, 0) + 1
        return self._crashes[node_id]


class WorkerRun(BenchRun):
    """Runs a share of the items, of tasks that the controller enumerated."""

    def __init__(self, *arguments: Any, shared: SharedFolder, worker: str, **named: Any) -> None:
        self._shared = shared
        self._standing_path = shared.standing(worker)
        self._written: Standing | None = None
        self._index: TaskIndex | None = None
        super().__init__(*arguments, **named)
        self._follower = ResultsFollower(self.run_dir / FILE_NAME, self.run_id, self._read.results_before)
        self.finished = self._read.finished
        self._own: set[AttemptKey] = set()
        self._elsewhere: dict[AttemptKey, AttemptRecord] = {}

    @property
    def _read(self) -> TaskIndex:
        if self._index is None:
            self._index = read_index(self._shared.index)
        return self._index

    def _chosen_tasks(self, benchmarks: list[Benchmark]) -> list[PlannedTask]:
        return [task for benchmark in benchmarks for task in self._read.of(benchmark)]

    def _identity(self, cwd: Path) -> tuple[str, Path]:
        return self._read.run_id, self._read.run_dir

    def _report(self, record: AttemptRecord) -> None:
        """The controller reports it."""

    def _begin(self) -> None:
        self._lock.join(self.run_dir)

    def _submit(self, item: PlannedItem, key: str, *, hold: bool) -> Handle:
        """Run the item's attempt, unless a worker that died meanwhile had finished it: that is paid for."""
        for record in self._follower.new():
            if key_of(record) not in self._own:
                self._elsewhere[key_of(record)] = record.without_conversation()
        if item.key in self._elsewhere and not hold:
            return self._finished_handle(self._elsewhere[item.key], item, key)
        self._own.add(item.key)
        return super()._submit(item, key, hold=hold)

    def _budget(self) -> Budget:
        return SharedBudget(budget_limits(self.options), self._shared.ledger, began=self._read.began)

    def _judge_budget(self) -> Budget:
        return SharedBudget(judge_limits(self.options), self._shared.judge_ledger, began=self._read.began)

    def _make_engine(self) -> Engine:
        engine = super()._make_engine()
        self.loop.submit(self._keep_telling())
        return engine

    def _tell_blocked(self, line: str) -> None:
        super()._tell_blocked(line)
        self._tell()  # the loop, on which it is told otherwise, is what is blocked

    async def _keep_telling(self) -> None:
        while True:
            self._tell()
            await asyncio.sleep(TELL_EVERY)

    def _tell(self) -> None:
        """Let the controller know how the rollouts here stand."""
        if (standing := self.standing) != self._written:
            with contextlib.suppress(OSError):  # a controller that is gone does not want to know
                write_standing(self._standing_path, standing)
            self._written = standing

    def close(self) -> None:
        super().close()
        self._tell()

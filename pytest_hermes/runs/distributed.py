"""The two sides of a run in several processes: the one that distributes, and its workers. Each holds a Run."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

from ..background import BackgroundLoop
from ..rollout.boundary import Classify
from ..rollout.record import AttemptRecord
from .plan import PlannedAttempt, RunPlan
from .progress import Progress, read_progress, total, write_progress
from .results_follower import ResultsFollower
from .resume import AttemptKey, key_of
from .run import Handle, Run
from .shared_folder import SharedFolder
from .task_index import write_index

#: Seconds between two looks of a worker at what it may have to tell.
TELL_EVERY = 1.0


class DistributedRun:
    """Tells how a run goes whose attempts run in workers. Its own Run has enumerated the tasks, and starts nothing."""

    def __init__(self, run: Run, shared: SharedFolder, processes: int) -> None:
        self.run = run
        self.plan = run.plan
        assert self.plan.folder is not None
        self._folder = self.plan.folder
        self._folder.begin()
        write_index(shared.index, self.plan, self._folder)
        attempts = list(self.plan.attempts())
        finished = self._folder.finished
        self.records = [finished[attempt.key] for attempt in attempts if attempt.key in finished]
        self.planned = Counter((attempt.key[0], attempt.key[3]) for attempt in attempts)
        self._shared = shared
        self._processes = processes
        self._progress: dict[str, Progress] = {}
        self._ended: set[str] = set()
        self._follower = ResultsFollower(self._folder.path, self._folder.run_id, self._folder.results_before)
        self._crashes: Counter[str] = Counter()

    @property
    def progress(self) -> Progress:
        return total(self._progress.values())

    @property
    def results_path(self) -> Path | None:
        path = self._follower.path
        return path if path.exists() else None

    def refresh(self) -> None:
        """Read what the workers wrote since the last time."""
        self.records += self._follower.new()
        if self._follower.path.parent != self._folder.path:
            self._folder.move(self._follower.path.parent)
        for worker, path in self._shared.progresses():
            progress = read_progress(path)
            if worker in self._ended:
                progress = replace(progress, in_flight=0, calls=0, calls_at_most=0, statuses=())
            self._progress[worker] = progress

    def forget(self, worker: str) -> None:
        """A worker has ended: nothing of it is in flight any more, whatever it wrote last."""
        self._ended.add(worker)

    def share_of(self, worker: int) -> int:
        """Return how many rollouts worker number `worker`, from 0, may have in flight."""
        each, more = divmod(self.plan.in_flight, self._processes)
        return each + (worker % self._processes < more)

    def count_crash(self, node_id: str) -> int:
        """Return how many workers have died with this item."""
        self._crashes[node_id] += 1
        return self._crashes[node_id]


class WorkerRun:
    """Runs a share of the attempts, of tasks that the distributing process has enumerated."""

    def __init__(
        self, plan: RunPlan, loop: BackgroundLoop, shared: SharedFolder, worker: str, *, classify: Classify
    ) -> None:
        self.run = Run(
            plan,
            loop,
            shared=shared,
            classify=classify,
            # The loop, on which it is told otherwise, is what is blocked.
            on_blocked=lambda line: self.tell(),
        )
        self._path = shared.progress_of(worker)
        self._written: Progress | None = None
        assert plan.folder is not None
        self._follower = ResultsFollower(plan.folder.path, plan.run_id, plan.folder.results_before)
        self._own: set[AttemptKey] = set()
        self._elsewhere: dict[AttemptKey, AttemptRecord] = {}

    def start(self) -> None:
        """Start the run's engine, and tell how its rollouts stand from now on."""
        self.run.start()
        self.run.loop.submit(self._keep_telling())

    def submit(self, attempt: PlannedAttempt, key: str, *, hold: bool) -> Handle:
        """Queue an attempt, unless a worker that died meanwhile had finished it: that is paid for."""
        for record in self._follower.new():
            if key_of(record) not in self._own:
                self._elsewhere[key_of(record)] = record
        if attempt.key in self._elsewhere and not hold:
            return self.run.finished(self._elsewhere[attempt.key], attempt, key)
        self._own.add(attempt.key)
        return self.run.submit(attempt, key, hold=hold)

    async def _keep_telling(self) -> None:
        while True:
            self.tell()
            await asyncio.sleep(TELL_EVERY)

    def tell(self) -> None:
        """Let the distributing process know how the rollouts here stand."""
        if (progress := self.run.progress) != self._written:
            with contextlib.suppress(OSError):  # one that is gone does not want to know
                write_progress(self._path, progress)
            self._written = progress

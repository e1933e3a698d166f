"""The tasks of a run as a file: the process that distributes enumerates once, its workers read what it found."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

from ..benchmark import Benchmark, Item
from ..errors import UsageError
from ..rollout.plan import PlannedTask
from ..rollout.record import AttemptRecord
from ..task import Task
from .folder import RunFolder
from .plan import RunPlan
from .resume import AttemptKey


@dataclass(frozen=True)
class TaskIndex:
    """What a worker needs to know of a run besides the options it is started with."""

    run_id: str
    run_dir: Path
    #: When the run's time began, by the monotonic clock.
    began: float
    #: By the benchmark's name.
    tasks: dict[str, list[tuple[Item, Task]]]
    #: Of the datasets, by the benchmark's name.
    revisions: dict[str, str | None]
    #: What an earlier process of the run has finished, and the bytes of its results.
    finished: dict[AttemptKey, AttemptRecord]
    results_before: int

    def of(self, benchmark: Benchmark) -> list[PlannedTask]:
        """Return a benchmark's tasks, as its `setup()` would have them; it is not called again."""
        benchmark.revision = self.revisions[benchmark.name]
        return [PlannedTask(benchmark, item, task) for item, task in self.tasks[benchmark.name]]


def write_index(path: Path, plan: RunPlan, folder: RunFolder) -> None:
    """Write the index of a run to a new file. Raises UsageError for items that cannot be pickled."""
    index = TaskIndex(
        run_id=folder.run_id,
        run_dir=folder.path,
        began=plan.began,
        tasks={each.benchmark.name: [(task.item, task.task) for task in each.tasks] for each in plan.benchmarks},
        revisions={each.benchmark.name: each.benchmark.revision for each in plan.benchmarks},
        finished=dict(folder.finished),
        results_before=folder.results_before,
    )
    try:
        data = pickle.dumps(index)
    except Exception as error:  # pickling runs whatever code the items bring along
        raise UsageError(
            f"--hermes-procs needs items that can be pickled: {type(error).__name__}: {error}; run without it"
        ) from error
    path.write_bytes(data)


def read_index(path: Path) -> TaskIndex:
    """Return the index that `write_index` wrote; the benchmarks' modules must have been imported."""
    index = pickle.loads(path.read_bytes())
    assert isinstance(index, TaskIndex)
    return index

"""Collects the attempts of a session's benchmarks as test items."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from .node_ids import FUNCTION, item_name
from .outcomes import AttemptFailed, AttemptNotScored, properties_of
from .own_code import has_own_code

if TYPE_CHECKING:
    from ..rollout.attempt import Rollout
    from ..rollout.record import AttemptRecord
    from ..runs.plan import PlannedAttempt
    from ..runs.run import Run


def test_task(rollout: Rollout) -> None:
    """One attempt of one task; the reward alone decides."""
    record = rollout.record
    if record.status == "failed":
        raise AttemptFailed(record)


def test_nop(rollout: Rollout) -> None:
    """One attempt of nobody, in a validation: doing nothing must not be enough."""
    record = rollout.record
    if record.status == "passed":
        raise AttemptFailed(record, f"nop passes: the reward of doing nothing is {record.reward:g}")


class AttemptItem(pytest.Item):
    """What items of attempts have in common."""

    def __init__(self, *, attempt: PlannedAttempt, **arguments: Any) -> None:
        self.attempt = attempt
        self._bench = attempt.planned.benchmark.name
        super().__init__(**arguments)
        task = attempt.planned.task
        # For -k: `-k "easy and not unicode"`.
        self.extra_keyword_matches.update(
            word for word in (self._bench, task.category, task.difficulty, *task.tags) if word
        )
        self.add_marker("hermes")

    # All items hang under one collector whatever their benchmark: items run in the order their rollouts finish, and
    # pytest must know of each whether the next one shares its collector. Their ids say which benchmark they are of.
    @property
    def nodeid(self) -> str:
        return f"{self._bench}::{self.name}"

    if hasattr(pytest.Function, "id"):  # pytest >= 9.1 has structured ids besides

        @property
        def id(self) -> Any:
            return type(super().id).parse(self.nodeid)

    def reportinfo(self) -> tuple[Any, int, str]:
        return self.config.rootpath / self._bench, 0, self.name

    @property
    def is_to_run(self) -> bool:
        """Whether it has a rollout at all: a conftest may have marked it to be skipped, and nobody should pay."""
        return self.get_closest_marker("skip") is None


class TaskItem(AttemptItem, pytest.Function):
    """One attempt of one task."""

    @property
    def holds_sandbox(self) -> bool:
        """Whether somebody may look into the sandbox after verification."""
        asked = not {"sandbox", "tool_context"}.isdisjoint(self.fixturenames)
        return asked or bool(self.config.getoption("usepdb", False))


class FinishedItem(AttemptItem):
    """An attempt that an earlier process of the run has finished. Nothing runs: its record decides."""

    def __init__(self, *, record: AttemptRecord, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.record = record

    def setup(self) -> None:
        self.user_properties.extend(properties_of(self.record))
        if self.record.status == "skipped":
            pytest.skip(self.record.reason or "")
        if self.record.status == "error":
            raise AttemptNotScored(self.record)

    def runtest(self) -> None:
        if self.record.status == "failed":
            raise AttemptFailed(self.record)


class Benchmarks(pytest.Module):
    """The collector of all benchmark items. It stands for no file: importing a benchmark by its path would make a
    second copy of it, with different classes."""

    def _getobj(self) -> ModuleType:
        module = ModuleType("hermes_benchmarks", "The benchmarks of this session.")
        setattr(module, FUNCTION, test_task)
        return module

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        return list(self._items(self.config.stash[RUN]))

    def _items(self, run: Run) -> Iterator[AttemptItem]:
        finished = run.plan.folder.finished if run.plan.folder is not None else {}
        light = None
        for attempt in run.plan.attempts():
            model = attempt.loaded.source.name if attempt.validates else None
            name = item_name(attempt.planned.task.id, attempt.number, attempt.of, model)
            record = finished.get(attempt.key)
            if record is not None and light:
                yield FinishedItem.from_parent(self, name=name, attempt=attempt, record=record)
                continue
            item = TaskItem.from_parent(
                self,
                name=name,
                callobj=test_nop if model == "nop" else test_task,
                originalname=FUNCTION,
                attempt=attempt,
            )
            if light is None:
                light = bool(finished) and not has_own_code(item)
            yield item


RUN: pytest.StashKey[Run] = pytest.StashKey()
#: How the call of any test ended: `passed`, `failed` or `skipped`.
CALL: pytest.StashKey[str] = pytest.StashKey()
#: What the call of any test raised, in one line, where it did not pass.
REASON: pytest.StashKey[str] = pytest.StashKey()


class BenchmarkCollection:
    """Adds the benchmarks to what the session collects."""

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        if isinstance(collector, pytest.Session):
            # A Module, so that module-scoped fixtures of conftest files have a node to live on.
            report.result.insert(
                0,
                Benchmarks.from_parent(collector, path=collector.config.rootpath, name="hermes", nodeid="hermes"),
            )
        return report

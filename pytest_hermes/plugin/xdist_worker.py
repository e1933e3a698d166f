"""A worker of `--hermes-procs`: keeps its share of the rollouts in flight although xdist hands it one item at a time.

xdist tells its worker which items it will get, in a queue that is private. This module alone looks into it; should it
be another one in some later version, each item's rollout starts when it is the item's turn.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from .captured_output import captured_apart
from .interrupts import interruptible
from .items import TaskItem
from .rollouts import Rollouts

if TYPE_CHECKING:
    from ..runs.distributed import WorkerRun
    from ..runs.run import Handle

#: Seconds after which a scheduler may ask again for items that cannot be given away.
_REFUSAL = 1.0

#: Seconds between two looks at the queue while an item waits for its rollout.
_LOOK = 0.2


class WorkerRollouts(Rollouts):
    """Starts the rollouts of items that are queued for this worker, as many as it may have in flight."""

    def __init__(self, worker: WorkerRun) -> None:
        super().__init__(worker.run)
        self._worker = worker
        self._interactor: Any = None
        self._items: list[pytest.Item] = []

    def _start(self) -> None:
        self._worker.start()

    def _submit(self, item: TaskItem) -> Handle:
        return self._worker.submit(item.attempt, item.nodeid, hold=item.holds_sandbox)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        self._worker.tell()  # once more: now the run is over

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        self._items = session.items
        self._interactor = _interactor(session.config)
        if self._interactor is not None:
            _refuse_to_give_away(self._interactor, self._is_started)
        self._start_engine()
        with interruptible(session.config), captured_apart(session.config):
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        self._look_ahead(item)
        if not isinstance(item, TaskItem) or not item.is_to_run:
            return None
        future = self.handle_of(item).future
        while not future.done():
            with suppress(TimeoutError, CancelledError):
                future.exception(timeout=_LOOK)
            self._look_ahead(item)
        if future.cancelled() and (why := self._run.engine.fatal) is not None:
            # It ended with the run, before it had an outcome. A worker that exits instead counts as one that has died.
            item.session.shouldstop = self._run.plan.redactor.text(why)
            return True
        return None

    def _look_ahead(self, current: pytest.Item) -> None:
        """Start queued rollouts, the next ones first, until as many are unfinished as may be in flight."""
        free = self._run.plan.in_flight - self.unfinished
        for index in [None, *_queued(self._interactor)]:
            item = current if index is None else self._items[index]
            if free > 0 and isinstance(item, TaskItem) and item.is_to_run and not self.is_submitted(item):
                self.submit(item)
                free -= 1

    def _is_started(self, index: int) -> bool:
        item = self._items[index]
        return isinstance(item, TaskItem) and self.is_submitted(item)


def _interactor(config: pytest.Config) -> Any:
    found = (plugin for plugin in config.pluginmanager.get_plugins() if type(plugin).__name__ == "WorkerInteractor")
    return next(found, None)


def _queued(interactor: Any) -> list[int]:
    """Return the indices of the items that wait for this worker, in their order; empty where xdist hides them."""
    try:
        following = interactor.nextitem_index
        with interactor.torun.lock() as queue:
            waiting = [index for index in queue if isinstance(index, int)]
    except AttributeError:
        return []
    return [following, *waiting] if isinstance(following, int) else waiting


def _refuse_to_give_away(interactor: Any, is_started: Any) -> None:
    """Let no other worker steal items whose rollouts run here: they would be paid for twice."""
    steal = getattr(interactor, "steal", None)
    if steal is None:
        return

    def steal_what_waits(indices: Sequence[int]) -> None:
        if not any(is_started(index) for index in indices):
            steal(indices)
            return
        # Answered late: the scheduler asks again at once, and nothing changes that fast.
        timer = threading.Timer(_REFUSAL, interactor.sendevent, ("unscheduled",), {"indices": []})
        timer.daemon = True
        timer.start()

    interactor.steal = steal_what_waits

"""Runs a session's items: each benchmark item when its rollout has finished, whichever that is.

pytest sets up, calls and tears down one item at a time, and so does this loop: the rollouts themselves go on in the
engine. `-x`, `--maxfail`, Ctrl-C and `--pdb` therefore behave as always.
"""

from __future__ import annotations

import queue
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from .captured_output import captured_apart
from .finished import is_reported_at_once, report_at_once
from .interrupts import Interrupts, interruptible, interrupts_of
from .items import AttemptItem, FinishedItem, TaskItem
from .rollouts import Rollouts
from .status_line import StatusLine

if TYPE_CHECKING:
    from ..runs.run import Handle, Run


class RunLoop(Rollouts):
    """Replaces pytest's own loop while benchmark items are among the session's."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._finished: queue.SimpleQueue[AttemptItem] = queue.SimpleQueue()
        self._interrupts: Interrupts | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        tasks = [item for item in session.items if isinstance(item, AttemptItem)]
        others = [item for item in session.items if not isinstance(item, AttemptItem)]
        collection_failed = session.testsfailed and not session.config.option.continue_on_collection_errors
        if not tasks or session.config.option.collectonly or collection_failed:
            return None
        self._start_engine()
        self._interrupts = interrupts_of(session.config)
        with interruptible(session.config), captured_apart(session.config):
            for task in tasks:
                if isinstance(task, TaskItem) and task.is_to_run:
                    self.submit(task)
                else:
                    self._finished.put(task)
            self._run.records += [task.record for task in tasks if isinstance(task, FinishedItem)]
            # Other tests keep their order, and run while the first rollouts are in flight.
            for item, following in pairwise([*others, tasks[0]]):
                self._protocol(session, item, following)
            waiting = dict.fromkeys(tasks)
            live = StatusLine(self._run, len(tasks), session.config.pluginmanager.getplugin("terminalreporter"))
            while waiting:
                item = self._next_finished(live)
                if item not in waiting:  # run again by a plugin meanwhile
                    continue
                del waiting[item]
                if isinstance(item, TaskItem) and self._ended_with_the_run(item):
                    continue
                if isinstance(item, FinishedItem) and is_reported_at_once(item):
                    report_at_once(item, self._run.plan.redactor.text)
                    self._check_goes_on(session)
                else:
                    self._protocol(session, item, next(iter(waiting), None))
        return True

    def _ended_with_the_run(self, item: TaskItem) -> bool:
        """Whether a rollout was cancelled before it had an outcome."""
        return self._run.engine.fatal is not None and self.handle_of(item).future.cancelled()

    def _next_finished(self, live: StatusLine) -> AttemptItem:
        """Wait for a rollout, showing how the run stands meanwhile."""
        try:
            return self._finished.get_nowait()
        except queue.Empty:
            pass
        try:
            while True:
                if self._interrupts is not None:
                    self._interrupts.session_continues()
                live.show()
                try:
                    return self._finished.get(timeout=live.interval)
                except queue.Empty:
                    self._run.check_alive()
        finally:
            live.hide()

    def _protocol(self, session: pytest.Session, item: pytest.Item, following: pytest.Item | None) -> None:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        self._check_goes_on(session)

    @staticmethod
    def _check_goes_on(session: pytest.Session) -> None:
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)

    def submit(self, item: TaskItem) -> Handle:
        handle = super().submit(item)
        handle.future.add_done_callback(lambda _: self._finished.put(item))
        return handle

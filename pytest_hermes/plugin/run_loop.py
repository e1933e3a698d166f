"""Runs a session's items: each benchmark item when its rollout has finished, whichever that is.

pytest sets up, calls and tears down one item at a time, and so does this loop: the rollouts themselves go on in the
engine. `-x`, `--maxfail`, Ctrl-C and `--pdb` therefore behave as always.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from .items import TaskItem
from .live_line import LiveLine
from .separate_prints import separate_prints

if TYPE_CHECKING:
    from ..rollout.attempt import Rollout
    from ..rollout.engine import Handle
    from .bench_run import BenchRun


class RunLoop:
    """Replaces pytest's own loop while benchmark items are among the session's."""

    def __init__(self, run: BenchRun) -> None:
        self._run = run
        self._handles: dict[TaskItem, Handle] = {}
        self._finished: queue.SimpleQueue[TaskItem] = queue.SimpleQueue()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        tasks = [item for item in session.items if isinstance(item, TaskItem)]
        others = [item for item in session.items if not isinstance(item, TaskItem)]
        collection_failed = session.testsfailed and not session.config.option.continue_on_collection_errors
        if not tasks or session.config.option.collectonly or collection_failed:
            return None
        self._start_engine()
        with sigterm_as_interrupt(), separate_prints(session.config):
            for task in tasks:
                if task.get_closest_marker("skip"):  # a conftest said so; nobody should pay for it
                    self._finished.put(task)
                else:
                    self.submit(task)
            # Other tests keep their order, and run while the first rollouts are in flight.
            for item, following in pairwise([*others, tasks[0]]):
                self._protocol(session, item, following)
            waiting = dict.fromkeys(tasks)
            live = LiveLine(self._run, len(tasks), session.config.pluginmanager.getplugin("terminalreporter"))
            while waiting:
                item = self._next_finished(live)
                if item not in waiting:  # run again by a plugin meanwhile
                    continue
                del waiting[item]
                self._protocol(session, item, next(iter(waiting), None))
        return True

    def _next_finished(self, live: LiveLine) -> TaskItem:
        """Wait for a rollout, showing how the run stands meanwhile."""
        try:
            return self._finished.get_nowait()
        except queue.Empty:
            pass
        try:
            while True:
                live.show()
                try:
                    return self._finished.get(timeout=live.interval)
                except queue.Empty:
                    continue
        finally:
            live.hide()

    def _start_engine(self) -> None:
        from ..errors import UsageError

        try:
            _ = self._run.engine
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None

    @staticmethod
    def _protocol(session: pytest.Session, item: pytest.Item, following: pytest.Item | None) -> None:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)

    def submit(self, item: TaskItem) -> Handle:
        handle = self._run.submit(item.planned_item, item.nodeid, hold=item.holds_sandbox)
        self._handles[item] = handle
        handle.future.add_done_callback(lambda _: self._finished.put(item))
        return handle

    def take(self, item: TaskItem) -> Rollout:
        """Return the finished rollout of an item, waiting for it if need be. An item run again gets a fresh one."""
        handle = self._handles.get(item) or self.submit(item)
        try:
            rollout = handle.future.result()
        except CancelledError:
            pytest.exit(self._run.engine.fatal or "the run was stopped", returncode=pytest.ExitCode.INTERRUPTED)
        if self._run.engine.fatal is not None:
            item.session.shouldstop = self._run.engine.fatal
        return rollout

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        """Let go of the item's sandbox, after the fixtures that may have looked into it, whatever they raise."""
        try:
            return (yield)
        finally:
            handle = self._handles.pop(item, None) if isinstance(item, TaskItem) else None
            if handle is not None:
                handle.release()


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Make SIGTERM end the session as Ctrl-C does: in order, with its reports and without its sandboxes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt("SIGTERM")

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


LOOP: pytest.StashKey[RunLoop] = pytest.StashKey()

"""The controller of `--hermes-procs`: gives workers their share, runs what a dead worker left again, shows the run."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ..runs.distributed import TELL_EVERY
from .live_line import LiveLine
from .run_loop import sigterm_as_interrupt

if TYPE_CHECKING:
    from ..runs.distributed import DistributedRun

#: Workers that may die with the same item before it counts as an error of its own.
MAX_CRASHES = 3

RERUN = "rerun"


class Controller:
    """A plugin for the process that only distributes."""

    def __init__(self, run: DistributedRun) -> None:
        self._run = run
        self._live: LiveLine | None = None
        #: Held by who writes to the terminal: this thread by way of pytest, or the one that draws the line.
        self._writing = threading.RLock()
        self._over = threading.Event()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        number = int(node.workerinput["workerid"].removeprefix("gw"))
        node.workerinput["hermes_in_flight"] = self._run.share_of(number)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        reporter = session.config.pluginmanager.getplugin("terminalreporter")
        self._live = LiveLine(self._run, self._run.planned.total(), reporter)
        # xdist waits for its workers where no hook is called, maybe for an hour.
        drawing = threading.Thread(target=self._keep_drawing, name="hermes-live-line", daemon=True)
        drawing.start()
        try:
            sigterm_as_interrupt(session.config)
            return (yield)
        finally:
            self._over.set()
            drawing.join()
            self._live.hide()

    def _keep_drawing(self) -> None:
        while not self._over.wait(TELL_EVERY):
            with self._writing:
                self._draw()

    def _draw(self) -> None:
        if self._live is not None:
            self._run.refresh()
            self._live.show()

    @contextmanager
    def _without_line(self) -> Iterator[None]:
        with self._writing:
            if self._live is not None:
                self._live.hide()
            yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        with self._without_line():
            yield
            if report.when != "setup":
                self._draw()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logfinish(self) -> Generator[None, object, object]:
        with self._without_line():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True, optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> Generator[None, object, object]:
        self._run.forget(node.gateway.id)
        with self._without_line():
            return (yield)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: Any) -> None:
        """The item that a worker died with is run again: whose fault that was, nobody knows yet."""
        if self._run.count_crash(crashitem) < MAX_CRASHES:
            report.outcome = RERUN  # type: ignore[assignment]
            sched.mark_test_pending(crashitem)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        return (RERUN, "R", "RERUN") if str(report.outcome) == RERUN else None

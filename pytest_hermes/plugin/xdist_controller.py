"""The controller of `--hermes-procs`: gives workers their share, runs what a dead worker left again, shows the run."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from .live_line import LiveLine
from .run_loop import sigterm_as_interrupt

if TYPE_CHECKING:
    from .distributed_run import ControllerRun

#: Workers that may die with the same item before it counts as an error of its own.
MAX_CRASHES = 3

RERUN = "rerun"


class Controller:
    """A plugin for the process that only distributes."""

    def __init__(self, run: ControllerRun) -> None:
        self._run = run
        self._live: LiveLine | None = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        number = int(node.workerinput["workerid"].removeprefix("gw"))
        node.workerinput["hermes_index"] = str(self._run.index)
        node.workerinput["hermes_in_flight"] = self._run.share_of(number)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        reporter = session.config.pluginmanager.getplugin("terminalreporter")
        self._live = LiveLine(self._run, self._run.total, reporter)
        try:
            with sigterm_as_interrupt():
                return (yield)
        finally:
            self._live.hide()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        if self._live is not None:
            self._live.hide()
        yield
        if self._live is not None and report.when != "setup":
            self._run.refresh()
            self._live.show()

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: Any) -> None:
        """The item that a worker died with is run again: whose fault that was, nobody knows yet."""
        if self._run.count_crash(crashitem) < MAX_CRASHES:
            report.outcome = RERUN  # type: ignore[assignment]
            sched.mark_test_pending(crashitem)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        return (RERUN, "R", "RERUN") if str(report.outcome) == RERUN else None

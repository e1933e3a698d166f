"""The controller of `--hermes-procs`: gives workers their share, runs what a dead worker left again, shows the run."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from .interrupts import ctrl_c_deferred, interruptible
from .status_line import StatusLine
from .status_line_thread import StatusLineThread

if TYPE_CHECKING:
    from ..runs.distributed import DistributedRun

#: Workers that may die with the same item before it counts as an error of its own.
MAX_CRASHES = 3

RERUN = "rerun"


class Controller:
    """A plugin for the process that only distributes."""

    def __init__(self, run: DistributedRun) -> None:
        self._run = run
        self._line: StatusLineThread | None = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        number = int(node.workerinput["workerid"].removeprefix("gw"))
        node.workerinput["hermes_in_flight"] = self._run.share_of(number)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionstart(self) -> Generator[None, object, object]:
        """xdist starts its workers here."""
        with ctrl_c_deferred():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        plugins = session.config.pluginmanager
        self._line = StatusLineThread(
            StatusLine(self._run, self._run.planned.total(), plugins.getplugin("terminalreporter"))
        )
        plugins.register(self._line, "hermes-status-line")
        try:
            with interruptible(session.config):
                return (yield)
        finally:
            self._line.stop()

    @pytest.hookimpl(wrapper=True, tryfirst=True, optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> Generator[None, object, object]:
        self._run.forget(node.gateway.id)
        with self._line.hidden() if self._line is not None else nullcontext():
            return (yield)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: Any) -> None:
        """The item that a worker died with is run again: whose fault that was, nobody knows yet."""
        if self._run.count_crash(crashitem) < MAX_CRASHES:
            report.outcome = RERUN  # type: ignore[assignment]
            sched.mark_test_pending(crashitem)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        return (RERUN, "R", "RERUN") if str(report.outcome) == RERUN else None

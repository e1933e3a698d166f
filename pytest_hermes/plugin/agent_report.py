"""The run of a session's tests with an agent: its id, its folder, and what the session says at its end of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..runs.refuge import refuge_of
from ..runs.run_id import RUNS_DIR, new_run_id
from .options import read_options

#: The `benchmark` of records that come from users' own tests.
BENCHMARK = "tests"

_RUN_ID: pytest.StashKey[str] = pytest.StashKey()


def agent_run_id(config: pytest.Config) -> str:
    """Return the id of this session's run of own tests, the same in all its xdist workers."""
    workerinput: dict[str, Any] = getattr(config, "workerinput", {})
    if "hermes_run_id" in workerinput:
        return str(workerinput["hermes_run_id"])
    return config.stash.setdefault(_RUN_ID, new_run_id([BENCHMARK], read_options(config).model or ""))


def agent_run_dir(config: pytest.Config) -> Path:
    """Return the folder of the records of own tests."""
    named = read_options(config).run_dir
    return Path(config.invocation_params.dir) / (named or RUNS_DIR / agent_run_id(config))


def report_agents(config: pytest.Config) -> None:
    """Let the session's summary tell of the tests with an agent, whether they run in this process or its workers.

    Where a model is configured, SIGTERM and SIGHUP end such a session as Ctrl-C does.
    """
    if read_options(config).model is not None:
        from .interrupts import interrupts_of

        interrupts_of(config)
    if not hasattr(config, "workerinput") and not config.pluginmanager.hasplugin("hermes-agent-report"):
        config.pluginmanager.register(_AgentReport(config), "hermes-agent-report")


class _AgentReport:
    def __init__(self, config: pytest.Config) -> None:
        self._run_id = agent_run_id(config)
        self._run_dir = agent_run_dir(config)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        # Of most sessions neither is there, which then need nothing of what follows.
        if not self._run_dir.exists() and not refuge_of(self._run_id).exists():
            return
        from ..report.summary import summary_lines
        from ..runs.results_follower import ResultsFollower
        from .reporting import shortest

        follower = ResultsFollower(self._run_dir, self._run_id)
        records = follower.new()
        for model in dict.fromkeys(record.model for record in records):
            of_model = [record for record in records if record.model == model]
            terminalreporter.write_sep("=", f"tests with hermes_agent, {model}", bold=True)
            for line in summary_lines(of_model, len(of_model)):
                terminalreporter.write_line(line)
        if records:
            terminalreporter.write_line(f"results   {shortest(follower.path)}")

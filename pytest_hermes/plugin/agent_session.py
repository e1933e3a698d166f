"""What the tests with an agent of one session share: a run, a model, and what the session says of them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import pytest

from ..background import BackgroundLoop
from ..benchmark import Benchmark
from ..config.options import DEFAULT_IN_FLIGHT, Options
from ..config.settings import Config
from ..core.redact import Redactor
from ..errors import FatalError, UsageError
from ..models.limiter import CallLimiter
from ..models.protocol import ModelSource
from ..models.retry import retry_policy
from ..runs.configuration import Configuration, judge_source, model_source
from ..runs.folder import RunFolder
from ..runs.plan import RunPlan
from ..runs.run import Run
from ..tools.bridge import install_bridge
from .abort_reason import AbortReason, abort_reasons_of
from .agent_report import BENCHMARK, agent_run_dir, agent_run_id, report_agents
from .interrupts import interrupts_of
from .options import read_options
from .shared_folder import budget_folder
from .status_line import StatusLine
from .status_line_thread import StatusLineThread


class Tests(Benchmark):
    """The tests of a session, as the benchmark that their attempts are of. The tests themselves score them."""

    __test__ = False
    name = BENCHMARK


class AgentSession:
    """Of one process. Nothing is written down, and no model is asked, before the first agent runs."""

    def __init__(self, config: pytest.Config) -> None:
        self.options = read_options(config)
        #: What its endpoint refused the first agent that asked, which is what every other agent would hear.
        self.refused: AbortReason | None = None
        #: Drawn while an agent's test runs, where there is a terminal.
        self.line: StatusLineThread | None = None
        self.benchmark = Tests()
        self.loop = BackgroundLoop(name="hermes-own-tests")
        self.configuration = Configuration(self.options, Path(config.invocation_params.dir))
        self.config: Config = self.configuration.of_agent_fixture()
        run_id = agent_run_id(config)
        shared = budget_folder(config)
        plan = RunPlan(
            options=self.options,
            run_id=run_id,
            folder=RunFolder(run_id, agent_run_dir(config)),
            judge=judge_source(self.options, CallLimiter()),
            in_flight=self.options.concurrency or DEFAULT_IN_FLIGHT,
            redactor=Redactor.from_environment(os.environ, self.configuration.secrets),
            began=time.monotonic() if shared is None else shared.made,
        )
        self.run = Run(plan, self.loop, shared=shared)
        self.loop.run(self._prepare_loop())

    async def _prepare_loop(self) -> None:
        install_bridge(asyncio.get_running_loop())
        self.run.budget.set_clock()

    @cached_property
    def source(self) -> ModelSource:
        """Who answers. Raises UsageError when nobody would."""
        return model_source(self.config, "hermes_agent", policy=retry_policy(self.options.request_timeout))

    def end(self, node: pytest.Item, refusal: FatalError) -> None:
        """Let the session end after a test: what it was refused would be refused to all others."""
        self.refused = ("refused", str(refusal))
        node.session.shouldstop = str(refusal)

    @property
    def abort_reason(self) -> AbortReason | None:
        return self.refused or self.run.abort_reason

    def close(self) -> None:
        if "source" in vars(self):
            self.loop.run(self.source.close())
        self.run.close()


@contextmanager
def without_traceback() -> Iterator[None]:
    """Let a UsageError of a fixture be its one line."""
    try:
        yield
    except UsageError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


_SESSION: pytest.StashKey[AgentSession] = pytest.StashKey()


def agent_session(of: pytest.Session) -> AgentSession:
    """Return the session's one, made at first use. Raises UsageError for a configuration that does not fit."""
    config = of.config
    if _SESSION not in config.stash:
        # Its handling of signals is to outlive the session's end.
        interrupts = interrupts_of(config)
        session = config.stash[_SESSION] = AgentSession(config)
        abort_reasons_of(config).add(lambda: session.abort_reason)
        config.add_cleanup(session.close)
        interrupts.on_second(session.run.hurry)
        report_agents(config)
        session.line = _status_line_thread(of, session.run)
    return config.stash[_SESSION]


def _status_line_thread(session: pytest.Session, run: Run) -> StatusLineThread | None:
    """Show on a terminal how the agents get on, since a test may take an hour. What `-s` lets through shows it too."""
    config = session.config
    reporter = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    if reporter is None or not reporter.isatty or capture is None or config.option.capture == "no":
        return None
    with capture.global_and_fixture_disabled():
        terminal = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    config.add_cleanup(terminal.close)
    total = sum("hermes_agent" in getattr(item, "fixturenames", ()) for item in session.items)
    line = StatusLineThread(StatusLine(run, total, reporter, at_once=1, terminal=terminal))
    config.pluginmanager.register(line, "hermes-status-line")
    return line


def register_config_header(config: pytest.Config, options: Options) -> None:
    """Say what configures a session without benchmarks. Raises pytest.UsageError when it does not fit."""
    try:
        configuration = Configuration(options, Path(config.invocation_params.dir))
        notes = configuration.header([(configuration.of_agent_fixture(), None)])
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(_ConfigHeader(notes), "hermes-config-header")


class _ConfigHeader:
    def __init__(self, notes: list[str]) -> None:
        self._notes = notes

    def pytest_report_header(self) -> list[str]:
        return [f"hermes: {note}" for note in self._notes]

"""Agents, sandboxes and records for users' own tests, with or without a benchmark in the session."""

from __future__ import annotations

import asyncio
import enum
import inspect
import math
import os
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, cast

import pytest

from ..background import BackgroundLoop, on_loop
from ..config.settings import Config
from ..errors import InfrastructureError, Refused, Status, UsageError
from ..judging import Judging
from ..models.limiter import CallLimiter
from ..models.protocol import ModelSource
from ..models.retry import retry_policy
from ..redact import Redactor
from ..result import AgentResult
from ..rollout.budget import Budget, SharedBudget
from ..rollout.configured import sandbox_of, tools_of
from ..rollout.judge import JudgeModel
from ..rollout.limits import caps
from ..rollout.loop import HermesAgentLoop
from ..rollout.record import AttemptRecord, ErrorInfo, Seconds
from ..rollout.results_file import ResultsFile
from ..rollout.run import RUNS_DIR, new_run_id
from ..sandbox.protocol import Sandbox
from ..task import SandboxSpec, Task
from ..tools.bridge import install_bridge, wait_for_sync
from ..tools.context import ToolContext
from ..tools.dispatch import ToolOutcome, dispatch
from ..tools.place import Place
from ..tools.toolsets import resolve_toolsets
from .configuration import Configuration, judge_source, model_source
from .halts import Halt, halts_of
from .items import CALL
from .options import read_options
from .reporting import shortest
from .run_limits import budget_limits, judge_limits
from .shared_folder import shared_folder

#: The `benchmark` of records that come from users' own tests.
BENCHMARK = "tests"

_OWN: pytest.StashKey[OwnTests] = pytest.StashKey()


def own_tests(config: pytest.Config) -> OwnTests:
    """Return the session's one OwnTests, made at first use."""
    own = config.stash.get(_OWN, None)
    if own is None:
        own = config.stash[_OWN] = OwnTests(config)
        halts_of(config).add(lambda: own.refused)
        config.add_cleanup(own.close)
        config.pluginmanager.register(_Report(own), "hermes-own-tests")
    return own


def own_run_id(config: pytest.Config) -> str:
    """Return the id of this session's run of own tests, the same in all its xdist workers."""
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None and "hermes_run_id" in workerinput:
        return str(workerinput["hermes_run_id"])
    return new_run_id([BENCHMARK], read_options(config).model or "")


def _budget(config: pytest.Config) -> Budget:
    limits = budget_limits(read_options(config))
    shared = shared_folder(config)
    return Budget(limits) if shared is None else SharedBudget(limits, shared.own_ledger, began=shared.made)


def _judge_budget(config: pytest.Config) -> Budget:
    limits = judge_limits(read_options(config))
    shared = shared_folder(config)
    return Budget(limits) if shared is None else SharedBudget(limits, shared.own_judge_ledger, began=shared.made)


@contextmanager
def _without_traceback() -> Iterator[None]:
    """Let a UsageError of a fixture be its one line."""
    try:
        yield
    except UsageError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


class OwnTests:
    """What own tests of one session share: an event loop, a model, a results file."""

    def __init__(self, config: pytest.Config) -> None:
        self.options = read_options(config)
        self.run_id = own_run_id(config)
        self._cwd = Path(config.invocation_params.dir)
        self._configuration: Configuration | None = None
        self.loop = BackgroundLoop(name="hermes-own-tests")
        self.budget = _budget(config)
        self.judge_budget = _judge_budget(config)
        #: What its endpoint refused the first agent that asked, in the form of a halt; all others would hear the same.
        self.refused: Halt | None = None
        self._source: ModelSource | None = None
        self._judge_source: ModelSource | None = None
        self._results: ResultsFile | None = None
        self.loop.run(self._prepare_loop())

    async def _prepare_loop(self) -> None:
        install_bridge(asyncio.get_running_loop())
        self.budget.set_clock()

    @property
    def configuration(self) -> Configuration:
        if self._configuration is None:
            self._configuration = Configuration(self.options, self._cwd)
        return self._configuration

    @property
    def config(self) -> Config:
        return self.configuration.of_own_tests()

    @property
    def source(self) -> ModelSource:
        if self._source is None:
            policy = retry_policy(self.options.request_timeout)
            self._source = model_source(self.config, "hermes_agent", policy=policy)
        return self._source

    def judging(self, node: pytest.Item) -> Judging:
        """Return how a test is judged. Raises UsageError when the judge cannot be asked."""
        if self._judge_source is None:
            self._judge_source = judge_source(self.options, CallLimiter())
        if self._judge_source is None:
            return Judging()

        def refused(refusal: Refused) -> None:
            self.end(node, refusal)

        return JudgeModel(self._judge_source, self.judge_budget, lambda: self.loop.loop, refused).new_judging()

    def end(self, node: pytest.Item, refusal: Refused) -> None:
        """Let the session end after a test: what it was refused would be refused to all others."""
        self.refused = ("refused", str(refusal))
        node.session.shouldstop = str(refusal)

    @property
    def results(self) -> ResultsFile:
        if self._results is None:
            run_dir = self._cwd / (self.options.run_dir or RUNS_DIR / self.run_id)
            with _without_traceback():
                self._results = ResultsFile(run_dir, Redactor.from_environment(os.environ, self.configuration.secrets))
        return self._results

    @property
    def results_path(self) -> Path | None:
        return self._results.path if self._results is not None else None

    def open_place(self, node: pytest.Item) -> OwnPlace:
        node_id = node.nodeid
        with _without_traceback():
            config = self.config
            sandbox = sandbox_of(config)
            judging = self.judging(node)
        place = Place(
            lambda: sandbox.make(SandboxSpec(), name=node_id),
            backend=config.env.terminal_backend,
            terminal_timeout=config.env.terminal_timeout,
        )
        return OwnPlace(self, place, node_id, judging)

    def close(self) -> None:
        for source in (self._source, self._judge_source):
            if source is not None:
                self.loop.run(source.close())
        self.loop.close()
        if self._results is not None:
            self._results.close()


def register_config_header(config: pytest.Config) -> None:
    """Say what configures a session without benchmarks. Raises pytest.UsageError when it does not fit."""
    try:
        configuration = Configuration(read_options(config), Path(config.invocation_params.dir))
        lines = configuration.header([(configuration.of_own_tests(), None)])
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(_ConfigHeader(lines), "hermes-config-header")


class _ConfigHeader:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def pytest_report_header(self) -> list[str]:
        return self._lines


class _Report:
    """Says where the records are. In xdist's workers there is no terminal to say it on."""

    def __init__(self, own: OwnTests) -> None:
        self._own = own

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._own.results_path is not None:
            terminalreporter.write_line(f"hermes_agent results: {shortest(self._own.results_path)}")


class OwnPlace:
    """The sandbox of one test."""

    def __init__(self, own: OwnTests, place: Place, node_id: str, judging: Judging) -> None:
        self.own = own
        self.place = place
        self.judging = judging
        self.context = ToolContext(node_id, place=place, loop=own.loop.loop)
        self.context.judging = judging

    def close(self) -> None:
        self.own.loop.run(self.place.close())


class SandboxFixture:
    """A sandbox whose methods may be awaited in any event loop; it is started at first use."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # whoever looks what this object can do should not start a sandbox
            raise AttributeError(name)
        if not inspect.iscoroutinefunction(getattr(Sandbox, name, None)):
            return getattr(wait_for_sync(self._place.start(), self._place.loop), name)

        async def elsewhere(*arguments: Any, **named: Any) -> Any:
            async def here() -> Any:
                return await getattr(await self._place.start(), name)(*arguments, **named)

            return await on_loop(self._place.loop, here())

        return elsewhere


class _Configured(enum.Enum):
    CONFIGURED = "as configured"


#: Of an argument that was not given; None is a value of some.
CONFIGURED: Final = _Configured.CONFIGURED
_AsConfigured = Literal[_Configured.CONFIGURED]


class AgentFixture:
    """What `hermes_agent` is."""

    def __init__(self, node: pytest.Item, place: OwnPlace) -> None:
        self._node = node
        self._place = place
        self._results: ResultsFile | None = None
        self._runs: list[tuple[datetime, datetime, HermesAgentLoop, ErrorInfo | None]] = []
        with _without_traceback():
            self._source = place.own.source

    async def run(
        self,
        prompt: str,
        *,
        system_prompt: str | _AsConfigured | None = CONFIGURED,
        toolsets: Sequence[str] | _AsConfigured = CONFIGURED,
        max_turns: int | _AsConfigured = CONFIGURED,
        temperature: float | _AsConfigured | None = CONFIGURED,
        max_tokens: int | _AsConfigured | None = CONFIGURED,
        extra_body: dict[str, Any] | _AsConfigured | None = CONFIGURED,
        seconds: float | None = None,
        solution: str | None = None,
    ) -> AgentResult:
        """Let the agent work on `prompt` in the test's sandbox and return what it left.

        What is not given is as configured. `seconds` limits the whole run; `solution` is a shell script for the
        `oracle` model to play. Raises InfrastructureError when the endpoint or the sandbox fails; a refused key or
        model also ends the session after this test.
        """
        self._results = self._place.own.results  # before anything is paid for that cannot be written down
        config = self._place.own.config
        env = config.env
        system_prompt = env.system_prompt if system_prompt is CONFIGURED else system_prompt
        tools = tools_of(config) if toolsets is CONFIGURED else resolve_toolsets(toolsets)
        limit = min(*caps(env, seconds), math.inf)
        place = self._place.place

        async def run_tool(name: str, arguments: str) -> ToolOutcome:
            return await dispatch(tools, name, arguments, place)

        loop = HermesAgentLoop(
            self._source.for_task(Task(id="test", prompt=prompt, solution=solution)),
            [tool.schema for tool in tools],
            {tool.name for tool in tools},
            max_turns=env.max_agent_turns if max_turns is CONFIGURED else max_turns,
            temperature=env.agent_temperature if temperature is CONFIGURED else temperature,
            max_tokens=env.max_token_length if max_tokens is CONFIGURED else max_tokens,
            extra_body=env.extra_body if extra_body is CONFIGURED else extra_body,
            seconds=limit if math.isfinite(limit) else None,
            budget=self._place.own.budget,
            priced=self._source.priced,
            run_tool=run_tool,
        )
        messages = [{"role": "system", "content": system_prompt}] if system_prompt else []
        started, error = datetime.now(UTC), None
        try:
            work: Coroutine[Any, Any, AgentResult] = loop.run([*messages, {"role": "user", "content": prompt}])
            return await on_loop(self._place.own.loop.loop, work)
        except InfrastructureError as failure:
            error = ErrorInfo(kind=failure.kind, message=str(failure))
            if isinstance(failure, Refused):
                self._place.own.end(self._node, failure)
            raise
        finally:
            self._runs.append((started, datetime.now(UTC), loop, error))

    def record(self, score: float | None) -> None:
        """Write what was run to the results file, with how the test ended and its score."""
        outcome = cast("Status", self._node.stash.get(CALL, "error"))
        judging = AttemptRecord.fields_of_judging(self._place.judging, score)
        for number, (started, ended, loop, error) in enumerate(self._runs, start=1):
            result = loop.result
            status: Status = "error" if error is not None else outcome
            if status == "error" and error is None:
                error = ErrorInfo(kind="test", message="the test did not reach its end")
            assert self._results is not None
            self._results.append(
                AttemptRecord(
                    run_id=self._place.own.run_id,
                    benchmark=BENCHMARK,
                    task=self._node.nodeid,
                    attempt=number,
                    status=status,
                    error=error,
                    reward=score,
                    model=self._source.name,
                    backend=self._place.place.backend,
                    **AttemptRecord.fields_of(result),
                    # A test is judged once, however many agents it runs; what that cost stands in one line.
                    **(judging if number == len(self._runs) else {}),
                    seconds=Seconds(
                        model=loop.model_seconds,
                        backoff=loop.clock.backoff,
                        tools=loop.tool_seconds,
                        total=(ended - started).total_seconds(),
                    ),
                    retries=loop.clock.retries,
                    started=started,
                    ended=ended,
                )
            )

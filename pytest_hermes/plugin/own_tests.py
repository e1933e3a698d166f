"""Agents, sandboxes and records for users' own tests, with or without a benchmark in the session."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from ..background import BackgroundLoop, on_loop
from ..errors import InfrastructureError, UsageError
from ..models.protocol import ModelSource
from ..models.resolve import resolve_model
from ..models.retry import retry_policy
from ..redact import Redactor
from ..result import AgentResult
from ..rollout.budget import Budget
from ..rollout.loop import HermesAgentLoop
from ..rollout.record import AttemptRecord, ErrorInfo, Seconds, Status
from ..rollout.results_file import ResultsFile
from ..rollout.run import RUNS_DIR, new_run_id
from ..sandbox.registry import sandbox_class
from ..task import SandboxSpec, Task
from ..tools.bridge import install_bridge
from ..tools.context import ToolContext
from ..tools.dispatch import ToolOutcome, dispatch
from ..tools.place import Place
from ..tools.toolsets import resolve_toolsets
from .items import CALL
from .options import read_options
from .reporting import shortest

#: The `benchmark` of records that come from users' own tests.
BENCHMARK = "tests"

_OWN: pytest.StashKey[OwnTests] = pytest.StashKey()


def own_tests(config: pytest.Config) -> OwnTests:
    """Return the session's one OwnTests, made at first use."""
    own = config.stash.get(_OWN, None)
    if own is None:
        own = config.stash[_OWN] = OwnTests(config)
        config.add_cleanup(own.close)
        config.pluginmanager.register(_Report(own), "hermes-own-tests")
    return own


def own_run_id(config: pytest.Config) -> str:
    """Return the id of this session's run of own tests, the same in all its xdist workers."""
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None and "hermes_run_id" in workerinput:
        return str(workerinput["hermes_run_id"])
    return new_run_id([BENCHMARK], read_options(config).model or "")


class OwnTests:
    """What own tests of one session share: an event loop, a model, a results file."""

    def __init__(self, config: pytest.Config) -> None:
        self.options = read_options(config)
        self.run_id = own_run_id(config)
        self._cwd = Path(config.invocation_params.dir)
        self.loop = BackgroundLoop(name="hermes-own-tests")
        self.loop.run(self._prepare_loop())
        self.budget = Budget(cost=self.options.max_cost, tokens=self.options.max_tokens)
        self._source: ModelSource | None = None
        self._results: ResultsFile | None = None

    async def _prepare_loop(self) -> None:
        install_bridge(asyncio.get_running_loop())

    @property
    def source(self) -> ModelSource:
        if self._source is None:
            self._source = resolve_model(
                self.options.model,
                self.options.base_url,
                None,
                os.environ,
                benchmark="hermes_agent",
                policy=retry_policy(self.options.request_timeout),
            )
        return self._source

    @property
    def results(self) -> ResultsFile:
        if self._results is None:
            run_dir = self._cwd / (self.options.run_dir or RUNS_DIR / self.run_id)
            self._results = ResultsFile(run_dir, Redactor.from_environment(os.environ))
        return self._results

    @property
    def results_path(self) -> Path | None:
        return self._results.path if self._results is not None else None

    def open_place(self, node_id: str) -> OwnPlace:
        try:
            sandbox = sandbox_class(self.options.sandbox or "local")
        except UsageError as error:
            pytest.fail(str(error), pytrace=False)
        place = Place(lambda: sandbox(SandboxSpec(), name=node_id), backend=self.options.sandbox or "local")
        return OwnPlace(self, place, node_id)

    def close(self) -> None:
        if self._source is not None:
            self.loop.run(self._source.close())
        self.loop.close()
        if self._results is not None:
            self._results.close()


class _Report:
    """Says where the records are. In xdist's workers there is no terminal to say it on."""

    def __init__(self, own: OwnTests) -> None:
        self._own = own

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._own.results_path is not None:
            terminalreporter.write_line(f"hermes_agent results: {shortest(self._own.results_path)}")


class OwnPlace:
    """The sandbox of one test."""

    def __init__(self, own: OwnTests, place: Place, node_id: str) -> None:
        self.own = own
        self.place = place
        self.context = ToolContext(node_id, place=place, loop=own.loop.loop)

    def close(self) -> None:
        self.own.loop.run(self.place.close())


class SandboxFixture:
    """A sandbox whose methods may be awaited in any event loop; it is started at first use."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._place.sandbox, name)
        if not inspect.iscoroutinefunction(attribute):
            return attribute

        async def elsewhere(*arguments: Any, **named: Any) -> Any:
            async def here() -> Any:
                await self._place.start()
                return await attribute(*arguments, **named)

            return await on_loop(self._place.loop, here())

        return elsewhere


class AgentFixture:
    """What `hermes_agent` is."""

    def __init__(self, node: pytest.Item, place: OwnPlace) -> None:
        self._node = node
        self._place = place
        self._runs: list[tuple[datetime, datetime, HermesAgentLoop, ErrorInfo | None]] = []
        try:
            self._source = place.own.source
        except UsageError as error:
            pytest.fail(str(error), pytrace=False)

    async def run(
        self,
        prompt: str,
        *,
        system_prompt: str | None = None,
        toolsets: tuple[str, ...] = ("terminal", "file"),
        max_turns: int = 30,
        temperature: float | None = 1.0,
        max_tokens: int | None = None,
        extra_body: dict[str, Any] | None = None,
        seconds: float | None = None,
        solution: str | None = None,
    ) -> AgentResult:
        """Let the agent work on `prompt` in the test's sandbox and return what it left.

        `seconds` limits the whole run; `solution` is a shell script for the `oracle` model to play.
        Raises InfrastructureError when the endpoint or the sandbox fails.
        """
        tools = resolve_toolsets(toolsets)
        place = self._place.place

        async def run_tool(name: str, arguments: str) -> ToolOutcome:
            return await dispatch(tools, name, arguments, place)

        loop = HermesAgentLoop(
            self._source.for_task(Task(id="test", prompt=prompt, solution=solution)),
            [tool.schema for tool in tools],
            {tool.name for tool in tools},
            max_turns=max_turns,
            temperature=temperature,
            max_tokens=max_tokens,
            extra_body=extra_body,
            seconds=seconds,
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
            raise
        finally:
            self._runs.append((started, datetime.now(UTC), loop, error))

    def record(self, score: float | None) -> None:
        """Write what was run to the results file, with how the test ended and its score."""
        outcome = cast("Status", self._node.stash.get(CALL, "error"))
        for number, (started, ended, loop, error) in enumerate(self._runs, start=1):
            result = loop.result
            status: Status = "error" if error is not None else outcome
            if status == "error" and error is None:
                error = ErrorInfo(kind="test", message="the test did not reach its end")
            self._place.own.results.append(
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

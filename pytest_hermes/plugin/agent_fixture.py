"""Agents and sandboxes for users' own tests: what the fixtures `hermes_agent` and `sandbox` are."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import math
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import pytest

from ..background import on_loop
from ..errors import FatalError, UsageError
from ..judging import Judging
from ..result import AgentResult
from ..rollout.agent import AgentModel, AgentTask
from ..rollout.boundary import Ending
from ..rollout.limits import AttemptLimits, caps
from ..rollout.on_demand import OnDemandAgent, Turns
from ..rollout.plan import AttemptPlan, PlannedTask
from ..rollout.record import ErrorInfo
from ..runs.configuration import sandbox_of, tools_of
from ..sandbox.protocol import Sandbox
from ..task import Limits, SandboxSpec, Task
from ..tools.bridge import wait_for_sync
from ..tools.context import ToolContext
from ..tools.session import SandboxSession
from ..tools.toolsets import resolve_toolsets
from .agent_session import agent_session, without_traceback
from .captured_output import add_sections
from .items import CALL, REASON
from .outcomes import properties_of

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..rollout.attempt import Rollout


T = TypeVar("T")


class TestSandbox:
    """The sandbox of one test, which belongs to the test whether an agent runs in it or not."""

    __test__ = False

    def __init__(self, node: pytest.Item) -> None:
        with without_traceback():
            self.agents = agent_session(node.session)
            sandbox = sandbox_of(self.agents.config)
        env = self.agents.config.env
        self.session = SandboxSession(
            lambda: sandbox.make(SandboxSpec(), name=node.nodeid),
            backend=env.terminal_backend,
            terminal_timeout=env.terminal_timeout,
        )
        self.judging = self._judging(node)
        self.context = ToolContext(node.nodeid, session=self.session, loop=self.agents.loop.loop)
        self.context.judging = self.judging

    def _judging(self, node: pytest.Item) -> Judging:
        judge = self.agents.run.judge
        if judge is None:
            return Judging()

        def refused(refusal: FatalError) -> None:
            self.agents.end(node, refusal)

        return dataclasses.replace(judge, refused=refused).new_judging()

    def close(self) -> None:
        self.agents.loop.run(self.session.close())


class SandboxFixture:
    """A sandbox whose methods may be awaited in any event loop; it is started at first use."""

    def __init__(self, session: SandboxSession) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # whoever looks what this object can do should not start a sandbox
            raise AttributeError(name)
        if not inspect.iscoroutinefunction(getattr(Sandbox, name, None)):
            return getattr(wait_for_sync(self._session.start(), self._session.loop), name)

        async def elsewhere(*arguments: Any, **named: Any) -> Any:
            async def here() -> Any:
                return await getattr(await self._session.start(), name)(*arguments, **named)

            return await on_loop(self._session.loop, here())

        return elsewhere


class _Configured(enum.Enum):
    CONFIGURED = "as configured"


#: Of an argument that was not given; None is a value of some.
CONFIGURED: Final = _Configured.CONFIGURED
_AsConfigured = Literal[_Configured.CONFIGURED]


def _or(given: T | _AsConfigured, configured: T) -> T:
    return configured if given is CONFIGURED else given


class AgentFixture:
    """What `hermes_agent` is. A test is one attempt; each `run` is a group of turns in it."""

    def __init__(self, node: pytest.Item, sandbox: TestSandbox) -> None:
        self._node = node
        self._sandbox = sandbox
        self._agents = sandbox.agents
        self._agent = OnDemandAgent(self._agents.options.infra_retries or 0)
        self._rollout: Future[Rollout] | None = None
        self._ended = False
        with without_traceback():
            self._source = self._agents.source
        self._draw(True)

    def _draw(self, active: bool) -> None:
        if (line := self._agents.line) is not None:
            with line.hidden():
                line.active = active

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
        if self._ended:
            raise UsageError("this hermes_agent belongs to a test that has ended; each test has its own")
        try:
            given = Limits(turns=_or(max_turns, self._agents.config.env.max_agent_turns), agent_seconds=seconds)
        except ValueError as error:
            raise UsageError(f"hermes_agent.run: {error}") from None
        self._begin()  # before anything is paid for that cannot be written down
        config = self._agents.config
        env = config.env
        limit = min(*caps(env, seconds), math.inf)
        turns = Turns(
            task=AgentTask(self._node.nodeid, prompt, _or(system_prompt, env.system_prompt)),
            model=AgentModel(
                self._source.for_task(Task(id="test", prompt=prompt, solution=solution)),
                temperature=_or(temperature, env.agent_temperature),
                max_tokens=_or(max_tokens, env.max_token_length),
                extra_body=_or(extra_body, env.extra_body),
            ),
            tools=tools_of(config) if toolsets is CONFIGURED else resolve_toolsets(toolsets),
            limits=AttemptLimits(
                turns=given.turns or env.max_agent_turns,
                agent_seconds=limit if math.isfinite(limit) else None,
            ),
        )
        try:
            return await on_loop(self._agents.loop.loop, self._agent.work_on(turns))
        except FatalError as refusal:
            self._agents.end(self._node, refusal)
            raise

    def _begin(self) -> None:
        """Submit the attempt that this test is, unless that is done."""
        if self._rollout is not None:
            return
        agents = self._agents
        # Nobody answers this one: each run brings its own.
        task = Task(id="test", prompt="", solution="true")
        plan = AttemptPlan(
            PlannedTask(agents.benchmark, task, task),
            1,
            self._source,
            agents.config.env,
            agent=self._agent,
            ending=self._agent.ending,
            session=self._sandbox.session,
            judging=self._sandbox.judging,
            task=self._node.nodeid,
        )
        with without_traceback():
            engine = agents.run.engine
        self._rollout = engine.submit(plan, self._node.nodeid).future
        self._rollout.add_done_callback(lambda _: engine.call(lambda: self._agent.never_begins(engine.fatal)))

    def record(self, score: float | None) -> None:
        """Let the attempt end as the test did, wait for its record, and put it into the test's report."""
        self._draw(False)
        self._ended = True
        if self._rollout is None:
            return
        self._agents.loop.run(self._agent.finish(self._ending(score)))
        try:
            rollout = self._rollout.result()
        except CancelledError:  # it ended with the run, which says why
            return
        properties = [pair for pair in properties_of(rollout.record) if pair[0] not in ("reward", "attempt")]
        self._node.user_properties.extend(properties)
        add_sections(self._node, rollout)

    def _ending(self, score: float | None) -> Ending:
        reason = self._node.stash.get(REASON, None)
        match self._node.stash.get(CALL, None):
            case "passed":
                return Ending("passed", score)
            case "failed":
                return Ending("failed", score, reason=reason)
            case "skipped":
                return Ending("skipped", score, reason=reason)
        error = ErrorInfo(kind="test", message="the test did not reach its end")
        return Ending("error", score, error)

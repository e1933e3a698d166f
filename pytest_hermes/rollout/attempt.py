"""One attempt of one task: sandbox, agent, verifier, record. It runs on the engine's loop."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ..benchmark import REWARD_RANGE, Benchmark
from ..core.checks import number
from ..core.one_line import shown
from ..errors import FatalError, InfrastructureError, SandboxBroken, Unsupported
from ..judging import Judging
from ..models.protocol import Equipped
from ..result import AgentResult, Usage
from ..task import SandboxSpec
from ..tools.context import ToolContext
from ..tools.dispatch import ToolOutcome, dispatch
from ..tools.session import SandboxSession
from ..verdict import Verdict
from .agent import AgentModel, AgentTask, AgentTools, BuiltinAgent, NoWork
from .agents_fault import AgentsFault
from .boundary import Ending, unrecordable
from .budget import Budget, EndedByBudget
from .captured_output import CapturedOutput
from .limits import attempt_limits
from .plan import AttemptPlan
from .record import AttemptRecord, EarlierError, Seconds, UsageInfo, VerifierInfo
from .sessions import attempt_session
from .user_code import BenchmarkFault, UserCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .agent import AgentWork
    from .watchdog import Watchdog

#: Characters of the verifier's output that a record keeps.
VERIFIER_TAIL = 4000


@dataclass(frozen=True)
class Rollout:
    """A finished attempt: what the `rollout` fixture gives."""

    record: AttemptRecord
    result: AgentResult
    #: Looks into the sandbox, which is still open only if the attempt was asked to hold it.
    context: ToolContext
    session: SandboxSession
    #: What the benchmark's code printed and logged.
    captured: CapturedOutput = field(default_factory=CapturedOutput)
    #: Whether the same attempt, started afresh, may come to an end.
    restartable: bool = False
    #: What the verifier left for the run's folder, by name.
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def place(self) -> SandboxSession:
        """The earlier name of `session`."""
        return self.session

    @property
    def prints(self) -> CapturedOutput:
        """The earlier name of `captured`."""
        return self.captured

    @property
    def traceback(self) -> str:
        """Where the error was raised, for the report; empty when it is not of code, or there is none."""
        return (self.record.error.traceback if self.record.error is not None else None) or ""


class Attempt:
    """Runs once: `work`, then `rollout`, which says how it went."""

    def __init__(
        self,
        plan: AttemptPlan,
        *,
        run_id: str,
        key: str,
        task_timeout: float | None,
        budget: Budget,
        judging: Judging,
        queued: float = 0.0,
        earlier_errors: Sequence[EarlierError] = (),
        watchdog: Watchdog | None = None,
        on_undeclared_reward: Callable[[str], object] | None = None,
    ) -> None:
        """`budget` is the run's; `queued` is how many seconds the attempt waited for its turn; `earlier_errors` are
        those of earlier starts of the same attempt. A reward outside of 0 to 1 by a benchmark that declares no range is
        an error, or, where there is `on_undeclared_reward`, counts and is told to that.
        """
        self.plan = plan
        self._started = datetime.now(UTC)
        self._clock = time.perf_counter()
        self._budget = budget
        self._earlier_errors = list(earlier_errors)
        self._run_id = run_id
        self._limits = attempt_limits(plan.planned.benchmark, plan.config, plan.planned.task, task_timeout)
        self._key = key
        self._user_code = UserCode(plan.task, watchdog)
        self._on_undeclared_reward = on_undeclared_reward
        self.session = plan.session or attempt_session(plan.config, key, self._sandbox_spec)
        self.context = ToolContext(key, session=self.session)
        self.context.verifier_seconds = self._limits.verifier_seconds
        self.context.verifier_mode = plan.config.verifier
        self.context.judging = self._judging = plan.judging or judging
        self._result: AgentResult | None = None
        self._model: AgentModel | None = None
        self._seconds = {"queue": queued, "sandbox_start": 0.0, "verifier": 0.0}
        self._spec: SandboxSpec | None = None
        self._verdict: Verdict | None = None

    @property
    def result(self) -> AgentResult:
        """What the agent left, or has done so far."""
        return self._result or self._work.result

    @property
    def _work(self) -> AgentWork:
        return self._model.work if self._model is not None else NoWork()

    async def work(self) -> Ending:
        """Do everything but close the sandbox, and return how it ended.

        Raises whatever goes wrong; `boundary.ending_of` says what that makes of the attempt.
        """
        try:
            with self._judging.current():
                self._result = await self._agent_at_work()
                return await (self.plan.ending or self._scored)(self._result)
        except InfrastructureError as failure:
            if failure.kind == "image" and self._shares_image():
                raise FatalError(f"{failure}; name another with --hermes-image", kind=failure.kind) from failure
            raise

    def rollout(self, ending: Ending, captured: CapturedOutput) -> Rollout:
        """Return the attempt as it ended. A record that cannot be made of what there is says so."""
        if ending.status == "failed" and ending.reason is not None and ending.reward is not None:
            low, high = self._parts()[0].reward_range or REWARD_RANGE
            ending = replace(ending, reward=min(max(ending.reward, low), high))
        try:
            record = self._record(ending)
        except Exception as error:  # whatever a benchmark has made of the agent's result, say
            return self.bare_rollout(unrecordable(error), captured)
        files = self._verdict.files if self._verdict is not None else {}
        return Rollout(record, self.result, self.context, self.session, captured, ending.restartable, files)

    async def _agent_at_work(self) -> AgentResult:
        """Make the sandbox ready, and let the agent work in it."""
        if self.plan.skip is not None:
            raise Unsupported(self.plan.skip)
        benchmark, item, task = self._parts()
        async with self._phase("sandbox_start"):
            # First, and whoever answers: what is wrong with a task, or cannot run here, is said of it in any case.
            await self._sandbox_spec()
        model = self.plan.source.for_task(task)
        tools, config = self.plan.tools, self.plan.config
        async with self._phase("sandbox_start"):
            if tools and self.plan.session is None:
                # Now, not at the first tool call: a sandbox that cannot start must cost no tokens, and an image
                # that takes minutes is not the agent's time.
                await self.session.start()
            if task.files or type(benchmark).prepare is not Benchmark.prepare:
                await self._set_up(benchmark.prepare, item, self.context)
            if isinstance(model, Equipped):
                try:
                    await model.equip(await self.session.start())
                except OSError as error:
                    raise InfrastructureError(f"the model's files cannot be copied: {error}", kind="sandbox") from error
            prompt = await self._set_up(benchmark.format_prompt, item)
            if not isinstance(prompt, str | list):
                raise BenchmarkFault(f"format_prompt returned {shown(prompt)}; it must return a string", kind="setup")
        self._model = AgentModel.configured(model, config, budget=self._budget, priced=self.plan.source.priced)
        agent = self.plan.agent or BuiltinAgent()
        asked = AgentTask(task.id, prompt, config.system_prompt)
        try:
            return await agent.run(asked, self.session, self._model, AgentTools(tools, self._run_tool), self._limits)
        except SandboxBroken:
            if not self.result.acted:
                raise
            self.result.stop_reason = "sandbox_broken"
            return self.result

    async def _scored(self, result: AgentResult) -> Ending:
        """Say how the attempt ended, by the benchmark's reward."""
        benchmark, item, task = self._parts()
        async with self._phase("verifier"), AgentsFault(self.session, result, benchmark) as fault:
            if task.verifier.processes == "end" and "verifier" not in benchmark.config_fields:
                await (await self.session.start()).end_processes()
            seconds = None if benchmark.verifier_times_itself else self._limits.verifier_seconds
            reward: float = await self._user_code.call(
                "verifier",
                self._rewarded,
                benchmark.compute_reward,
                item,
                result,
                seconds=seconds,
                longest_step=self._limits.verifier_seconds,
                name="compute_reward",
            )
            return Ending("passed" if reward >= task.threshold else "failed", reward)
        return fault.ending

    async def _rewarded(self, compute_reward: Callable[..., Any], item: Any, result: AgentResult) -> float:
        """Return the reward as a number; turning it into one may run code of its own."""
        reward = compute_reward(item, result, self.context)
        if inspect.isawaitable(reward):
            reward = await reward
        if isinstance(reward, Verdict):
            self._verdict = reward
            if reward.error is not None:
                raise InfrastructureError(reward.error, kind="verifier")
            reward = reward.reward
        return self._checked_reward(reward)

    async def _run_tool(self, name: str, arguments: str) -> ToolOutcome:
        call = partial(dispatch, self.plan.tools, name, arguments, self.session)
        if all(tool.is_builtin for tool in self.plan.tools if tool.name == name):
            return await call()
        outcome: ToolOutcome = await self._user_code.call(
            "tool", call, seconds=self._limits.agent_seconds, name=f"tool {name}"
        )
        return outcome

    async def _set_up(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self._user_code.call("setup", function, *arguments, seconds=self._limits.verifier_seconds)

    async def _sandbox_spec(self) -> SandboxSpec:
        if self._spec is None:
            benchmark, item, _ = self._parts()
            spec = await self._set_up(benchmark.sandbox, item)
            if not isinstance(spec, SandboxSpec):
                raise BenchmarkFault(f"sandbox returned {shown(spec)}; it must return a SandboxSpec", kind="setup")
            self._spec = spec
        return self._spec

    def _shares_image(self) -> bool:
        """Whether the image is that of all tasks that name none."""
        return self._spec is not None and self._spec.image is None and self._spec.build_context is None

    def _parts(self) -> tuple[Benchmark, Any, Any]:
        planned = self.plan.planned
        return planned.benchmark, planned.item, planned.task

    @asynccontextmanager
    async def _phase(self, name: str) -> AsyncIterator[None]:
        """Take the time of what is not the agent's. It costs nothing else, so only the end of the time ends it."""
        started = time.perf_counter()
        try:
            async with EndedByBudget(self._budget, spared=lambda: not self._budget.out_of_time):
                yield
        finally:
            self._seconds[name] += time.perf_counter() - started

    def _checked_reward(self, reward: object) -> float:
        # bool is a number, and so are numpy's scalars by __float__; None, text and NaN are mistakes to be told.
        value = number(reward)
        if value is None or not math.isfinite(value):
            problem = f"compute_reward returned {shown(reward)}; it must return a finite number"
            raise BenchmarkFault(problem, kind="verifier")
        declared = self._parts()[0].reward_range
        low, high = declared or REWARD_RANGE
        if not low <= value <= high:
            problem = f"compute_reward returned {value:g}, which is not from {low:g} to {high:g}"
            if declared is not None or self._on_undeclared_reward is None:
                hint = "" if declared is not None else "; declare another range with Benchmark.reward_range"
                raise BenchmarkFault(problem + hint, kind="verifier")
            self._on_undeclared_reward(problem)
        return value

    def _record(self, ending: Ending) -> AttemptRecord:
        benchmark, _, task = self._parts()
        work, verdict = self._work, self._verdict
        return AttemptRecord(
            run_id=self._run_id,
            benchmark=self.plan.benchmark,
            dataset_revision=self.plan.revision,
            task=self.plan.task,
            attempt=self.plan.number,
            status=ending.status,
            error=ending.error,
            reason=ending.reason,
            reward=ending.reward,
            threshold=task.threshold,
            reward_range=benchmark.reward_range or REWARD_RANGE,
            category=task.category,
            difficulty=task.difficulty,
            tags=task.tags,
            model=self.plan.source.name,
            backend=self.session.backend,
            image=(self._spec or task.sandbox).image,
            **AttemptRecord.fields_of(self.result),
            **AttemptRecord.fields_of_judging(self._judging, ending.reward),
            seconds=Seconds(
                **self._seconds,
                model=work.model_seconds,
                backoff=work.backoff,
                tools=work.tool_seconds,
                total=time.perf_counter() - self._clock,
            ),
            retries=work.retries,
            earlier_errors=self._earlier_errors,
            verifier_output=self.context.output_tail(VERIFIER_TAIL)
            if verdict is None
            else verdict.output[-VERIFIER_TAIL:],
            verifier=None if verdict is None else VerifierInfo.of(verdict),
            metrics={} if verdict is None else dict(verdict.metrics),
            started=self._started,
            ended=datetime.now(UTC),
        )

    def bare_rollout(self, ending: Ending, captured: CapturedOutput) -> Rollout:
        """Return the attempt without what its agent and its verifier left, but with what it cost."""
        record = bare_record(self.plan, self._run_id, ending, self._started)
        if isinstance(usage := self.result.usage, Usage):
            record = record.model_copy(update={"usage": UsageInfo(**asdict(usage))})
        return Rollout(record, self.result, self.context, self.session, captured)


def bare_record(plan: AttemptPlan, run_id: str, ending: Ending, started: datetime) -> AttemptRecord:
    """Return the record of an attempt of which nothing more is known than how it ended."""
    return AttemptRecord(
        run_id=run_id,
        benchmark=plan.benchmark,
        task=plan.task,
        attempt=plan.number,
        status=ending.status,
        error=ending.error,
        reason=ending.reason,
        reward=ending.reward,
        model=plan.source.name,
        backend=plan.config.terminal_backend,
        started=started,
        ended=datetime.now(UTC),
    )

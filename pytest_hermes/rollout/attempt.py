"""One attempt of one task: sandbox, agent, verifier, record. It runs on the engine's loop."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..benchmark import Benchmark
from ..config.fields import EnvConfig
from ..dataset.rows import DatasetError
from ..errors import HermesError, InfrastructureError, Refused, Unsupported
from ..judging import Judging
from ..models.protocol import Equipped, ModelSource
from ..result import AgentResult
from ..task import SandboxSpec
from ..tools import bridge
from ..tools.bridge import bridged
from ..tools.context import ToolContext
from ..tools.dispatch import ToolOutcome, dispatch
from ..tools.place import Place
from ..tools.tool import Tool
from ..verdict import Verdict
from .budget import Budget, BudgetSpent, EndedByBudget
from .limits import attempt_limits
from .loop import HermesAgentLoop
from .places import MakeSpec
from .plan import PlannedTask
from .prints import CURRENT, Prints
from .record import AttemptRecord, EarlierError, ErrorInfo, Seconds, Status, VerifierInfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Characters of the verifier's output that a record keeps.
VERIFIER_TAIL = 4000


#: Gives the place of an attempt; what its sandbox is made from is asked for when one is needed.
MakePlace = Callable[[PlannedTask, str, MakeSpec], Place]


@dataclass(frozen=True)
class AttemptPlan:
    """What one attempt is made of."""

    planned: PlannedTask
    #: From 1.
    number: int
    source: ModelSource
    config: EnvConfig
    #: What the agent may call.
    tools: tuple[Tool, ...] = ()
    #: Keep the sandbox open after verification until it is released.
    hold: bool = False


class BenchmarkFault(InfrastructureError):
    """The benchmark's own code raised, or returned what is no reward: it would again."""


@dataclass(frozen=True)
class Rollout:
    """A finished attempt: what the `rollout` fixture gives."""

    record: AttemptRecord
    result: AgentResult
    #: Looks into the sandbox, which is still open only if the attempt was asked to hold it.
    context: ToolContext
    place: Place
    #: Where the verifier raised, for the report; empty when it did not.
    traceback: str = ""
    #: What the benchmark's code printed and logged.
    prints: Prints = field(default_factory=Prints)
    #: Whether the same attempt, started afresh, may come to an end.
    restartable: bool = False
    #: What the verifier left for the run's folder, by name.
    files: Mapping[str, bytes] = field(default_factory=dict)


class Attempt:
    """Runs once. `rollout()` may be asked for when `run` has returned."""

    def __init__(
        self,
        plan: AttemptPlan,
        *,
        run_id: str,
        key: str,
        make_place: MakePlace,
        task_timeout: float | None,
        budget: Budget,
        judging: Judging,
        earlier_errors: Sequence[EarlierError] = (),
    ) -> None:
        """`budget` is the run's; `earlier_errors` are those of earlier starts of the same attempt."""
        self.plan = plan
        self._budget = budget
        self._earlier_errors = list(earlier_errors)
        self._run_id = run_id
        self._limits = attempt_limits(plan.planned.benchmark, plan.config, plan.planned.task, task_timeout)
        self._key = key
        self.place = make_place(plan.planned, key, self._sandbox_spec)
        self.context = ToolContext(key, place=self.place)
        self.context.verifier_seconds = self._limits.verifier_seconds
        self.context.judging = self._judging = judging
        self.result = AgentResult()
        self._loop: HermesAgentLoop | None = None
        self._seconds = {"queue": 0.0, "sandbox_start": 0.0, "verifier": 0.0}
        self._traceback = ""
        self._spec: SandboxSpec | None = None
        self._verdict: Verdict | None = None

    async def run(self, queued: float) -> Rollout:
        """Do everything but close the sandbox; `queued` is how many seconds the attempt waited for its turn.

        Never raises for what may go wrong in an attempt: that stands in the record. Raises Refused for what would go
        wrong in every other as well.
        """
        self._seconds["queue"] = queued
        prints = Prints()
        CURRENT.set(prints)
        started, clock = datetime.now(UTC), time.perf_counter()
        reward: float | None = None
        error: ErrorInfo | None = None
        reason: str | None = None
        restartable = False
        status: Status
        try:
            with self._judging.current():
                reward = await self._work()
            status = "passed" if reward >= self.plan.planned.task.threshold else "failed"
        except Unsupported as unsupported:
            status, reason = "skipped", str(unsupported)
        except Refused:
            raise
        except InfrastructureError as failure:
            if failure.kind == "image" and self._shares_image():
                raise Refused(f"{failure}; name another with --hermes-image", kind=failure.kind) from failure
            status, error = "error", ErrorInfo(kind=failure.kind, message=str(failure))
            restartable = not isinstance(failure, BudgetSpent | BenchmarkFault | DatasetError)
        except HermesError as failure:
            status, error = "error", ErrorInfo(kind="usage", message=str(failure))
        except Exception as bug:
            self._traceback = traceback.format_exc()
            status, error = "error", ErrorInfo(kind="internal", message=_describe(bug))
        if self._loop is not None:
            self.result = self._loop.result
        record = self._record(status, error, reason, reward, started, time.perf_counter() - clock)
        files = self._verdict.files if self._verdict is not None else {}
        return Rollout(record, self.result, self.context, self.place, self._traceback, prints, restartable, files)

    async def _work(self) -> float:
        benchmark, item, task = self._parts()
        async with self._phase("sandbox_start"):
            # First, and whoever answers: what is wrong with a task, or cannot run here, is said of it in any case.
            await self._sandbox_spec()
        model = self.plan.source.for_task(task)
        tools, config = self.plan.tools, self.plan.config
        async with self._phase("sandbox_start"):
            if tools:
                # Now, not at the first tool call: a sandbox that cannot start must cost no tokens, and an image
                # that takes minutes is not the agent's time.
                await self.place.start()
            if task.files or type(benchmark).prepare is not Benchmark.prepare:
                await self._user_code("setup", benchmark.prepare, item, self.context)
            if isinstance(model, Equipped):
                try:
                    await model.equip(await self.place.start())
                except OSError as error:
                    raise InfrastructureError(f"the model's files cannot be copied: {error}", kind="sandbox") from error

        async def run_tool(name: str, arguments: str) -> ToolOutcome:
            return await dispatch(tools, name, arguments, self.place)

        self._loop = HermesAgentLoop(
            model,
            [tool.schema for tool in tools],
            {tool.name for tool in tools},
            max_turns=self._limits.turns,
            task_id=self._key,
            temperature=config.agent_temperature,
            max_tokens=config.max_token_length,
            extra_body=config.extra_body,
            seconds=self._limits.agent_seconds,
            token_budget=self._limits.tokens,
            cost_budget=self._limits.cost,
            budget=self._budget,
            priced=self.plan.source.priced,
            run_tool=run_tool,
        )
        messages = [{"role": "system", "content": config.system_prompt}] if config.system_prompt else []
        self.result = await self._loop.run([*messages, {"role": "user", "content": benchmark.format_prompt(item)}])
        async with self._phase("verifier"):
            reward = await self._user_code(
                "verifier",
                benchmark.compute_reward,
                item,
                self.result,
                self.context,
                limited=not benchmark.verifier_times_itself,
            )
        if isinstance(reward, Verdict):
            self._verdict = reward
            if reward.error is not None:
                raise InfrastructureError(reward.error, kind="verifier")
            reward = reward.reward
        return _checked_reward(reward)

    async def _sandbox_spec(self) -> SandboxSpec:
        if self._spec is None:
            benchmark, item, _ = self._parts()
            self._spec = await self._user_code("setup", benchmark.sandbox, item)
        spec: SandboxSpec = self._spec
        return spec

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

    async def _user_code(self, kind: str, function: Callable[..., Any], *arguments: Any, limited: bool = True) -> Any:
        """Run a benchmark's own code within the verifier's time; what it raises is no failure of the model."""

        async def call() -> Any:
            value = function(*arguments)
            return await value if inspect.isawaitable(value) else value

        deadline = asyncio.timeout(self._limits.verifier_seconds if limited else None)
        try:
            async with deadline:
                return await bridged(call())
        except HermesError:
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and deadline.expired():
                raise InfrastructureError(
                    f"{function.__name__} did not finish within {self._limits.verifier_seconds:g} s", kind=kind
                ) from error
            self._traceback = _below_the_harness(error)
            raise BenchmarkFault(f"{function.__name__} raised {_describe(error)}", kind=kind) from error

    def _record(
        self,
        status: Status,
        error: ErrorInfo | None,
        reason: str | None,
        reward: float | None,
        started: datetime,
        total: float,
    ) -> AttemptRecord:
        benchmark, _, task = self._parts()
        result, loop, verdict = self.result, self._loop, self._verdict
        return AttemptRecord(
            run_id=self._run_id,
            benchmark=benchmark.name,
            dataset_revision=benchmark.revision,
            task=task.id,
            attempt=self.plan.number,
            status=status,
            error=error,
            reason=reason,
            reward=reward,
            threshold=task.threshold,
            category=task.category,
            difficulty=task.difficulty,
            tags=task.tags,
            model=self.plan.source.name,
            backend=self.place.backend,
            image=(self._spec or task.sandbox).image,
            **AttemptRecord.fields_of(result),
            **AttemptRecord.fields_of_judging(self._judging, reward),
            seconds=Seconds(
                **self._seconds,
                model=loop.model_seconds if loop else 0.0,
                backoff=loop.clock.backoff if loop else 0.0,
                tools=loop.tool_seconds if loop else 0.0,
                total=total,
            ),
            retries=loop.clock.retries if loop else 0,
            earlier_errors=self._earlier_errors,
            verifier_output=self.context.output_tail(VERIFIER_TAIL) if verdict is None else _tail(verdict.output),
            verifier=None if verdict is None else VerifierInfo.of(verdict),
            metrics={} if verdict is None else dict(verdict.metrics),
            started=started,
            ended=datetime.now(UTC),
        )


def _checked_reward(reward: object) -> float:
    # bool is a number, and so are numpy's scalars by __float__; None, text and NaN are mistakes to be told.
    try:
        value = float(reward)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if isinstance(reward, str) or not math.isfinite(value):
        raise BenchmarkFault(f"compute_reward returned {reward!r}; it must return a finite number", kind="verifier")
    return value


def _tail(text: str) -> str:
    return text[-VERIFIER_TAIL:]


def _below_the_harness(error: BaseException) -> str:
    """Return the traceback from the first frame of the benchmark's own code on."""
    ours = {__file__, bridge.__file__}
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _describe(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

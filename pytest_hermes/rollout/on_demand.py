"""An agent that works when it is told to: one attempt of several runs, for tests that talk to an agent."""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import InfrastructureError
from ..result import AgentResult, AgentRun
from ..tools.dispatch import dispatch
from ..tools.session import SandboxSession
from ..tools.tool import Tool
from .agent import AgentModel, AgentTask, AgentTools, BuiltinAgent
from .boundary import Ending, RunEnded, ending_of
from .limits import AttemptLimits
from .record import ErrorInfo


@dataclass(frozen=True)
class Turns:
    """What one run of the agent is asked, and how far it may go."""

    task: AgentTask
    model: AgentModel
    tools: Sequence[Tool]
    limits: AttemptLimits


@dataclass
class _Run:
    model: AgentModel
    seconds: float = 0.0
    error: InfrastructureError | None = None

    @property
    def result(self) -> AgentResult:
        return self.model.work.result

    @property
    def summary(self) -> AgentRun:
        result, error = self.result, self.error
        return AgentRun(
            messages=len(result.messages),
            turns_used=result.turns_used,
            stop_reason=result.stop_reason,
            usage=result.usage,
            seconds=self.seconds,
            error=None if error is None else f"{error.kind}: {error}",
        )


class OnDemandAgent:
    """Runs the built-in agent in the attempt's session as often as `work_on` is called, until `finish` is.

    A run is started afresh `restarts` times after an infrastructure error, as long as no tool has run in it: what a
    test has done to its sandbox cannot be done again. All methods belong to the attempt's loop.
    """

    def __init__(self, restarts: int = 0) -> None:
        self._restarts = restarts
        self._runs: list[_Run] = []
        self._tasks: set[asyncio.Task[AgentResult]] = set()
        self._begun = asyncio.Event()
        self._over = asyncio.Event()
        self._ending: Ending | None = None
        self._why = "the run was stopped"
        self._context: contextvars.Context | None = None

    # As the attempt sees it.

    async def run(
        self, task: AgentTask, session: SandboxSession, model: AgentModel, tools: AgentTools, limits: AttemptLimits
    ) -> AgentResult:
        """Wait for `finish`, and return what all runs left together."""
        model.work = self
        self._session, self._model = session, model
        # What a tool prints is the attempt's, whoever asked for the run that calls it.
        self._context = contextvars.copy_context()
        self._begun.set()
        try:
            await self._over.wait()
        finally:
            for running in self._tasks:
                running.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        return self.result

    async def ending(self, result: AgentResult) -> Ending:
        """Return how the attempt ended: what `finish` was called with."""
        assert self._ending is not None
        return self._ending

    @property
    def result(self) -> AgentResult:
        """What all runs left together: their conversations one after the other."""
        joined = AgentResult(runs=[run.summary for run in self._runs])
        for result in (run.result for run in self._runs):
            joined.messages += result.messages
            joined.reasoning_per_turn += result.reasoning_per_turn
            joined.tool_errors += [replace(each, turn=each.turn + joined.turns_used) for each in result.tool_errors]
            joined.asked_again += [replace(each, turn=each.turn + joined.turns_used) for each in result.asked_again]
            joined.turns_used += result.turns_used
            joined.usage += result.usage
            joined.stop_reason, joined.finished_naturally = result.stop_reason, result.finished_naturally
        return joined

    @property
    def model_seconds(self) -> float:
        return math.fsum(run.model.work.model_seconds for run in self._runs)

    @property
    def tool_seconds(self) -> float:
        return math.fsum(run.model.work.tool_seconds for run in self._runs)

    @property
    def backoff(self) -> float:
        return math.fsum(run.model.work.backoff for run in self._runs)

    @property
    def retries(self) -> int:
        return sum(run.model.work.retries for run in self._runs)

    # As the test sees it.

    async def work_on(self, turns: Turns) -> AgentResult:
        """Run the agent once, and return what it left. What cancels the caller cancels the run.

        Raises InfrastructureError when the endpoint or the sandbox fails, or the budget is spent.
        """
        await self._begun.wait()
        if self._context is None:
            raise InfrastructureError(self._why, kind="stopped")
        task = asyncio.get_running_loop().create_task(self._work_on(turns), context=self._context)
        self._tasks.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            # The attempt was cancelled, not who waits for it.
            raise InfrastructureError(self._why, kind="stopped") from None
        finally:
            task.cancel()
            self._tasks.discard(task)

    def never_begins(self, why: str | None) -> None:
        """Let nobody wait for an attempt that was ended before its turn came. Does nothing once it has begun."""
        self._why = why or self._why
        self._begun.set()

    async def finish(self, ending: Ending) -> None:
        """Let the attempt end. Where the test did not pass, an infrastructure error of its last run is why."""
        error = self._runs[-1].error if self._runs and ending.status in ("failed", "error") else None
        if error is not None:
            ending = replace(ending, status="error", error=ErrorInfo(kind=str(error.kind), message=str(error)))
        self._ending = ending
        self._over.set()

    async def _work_on(self, turns: Turns) -> AgentResult:
        restarts = self._restarts
        while True:
            run = _Run(replace(turns.model, budget=self._model.budget, priced=self._model.priced))
            self._runs.append(run)
            try:
                return await self._once(run, turns)
            except InfrastructureError as error:
                run.error = error
                ended = ending_of(error)
                acted = any(message["role"] == "tool" for message in run.result.messages)
                if restarts == 0 or acted or isinstance(ended, RunEnded) or not ended.restartable:
                    raise
                restarts -= 1

    async def _once(self, run: _Run, turns: Turns) -> AgentResult:
        tools = AgentTools(turns.tools, lambda name, arguments: dispatch(turns.tools, name, arguments, self._session))
        began = time.perf_counter()
        try:
            return await BuiltinAgent().run(turns.task, self._session, run.model, tools, turns.limits)
        finally:
            run.seconds = time.perf_counter() - began

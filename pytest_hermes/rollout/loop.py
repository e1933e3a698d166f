"""The agent loop: ask the model, run the tools it calls, until it calls none or may not go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from decimal import Decimal
from typing import Any

from ..errors import InfrastructureError, SandboxBroken
from ..models.clock import AgentClock
from ..models.protocol import ContextWindowExceeded, Model, NoAnswer, Traced
from ..result import AgentResult, AskedAgain, ToolError, Usage, dollars
from ..tools.dispatch import ToolOutcome
from .answer import Answer, Call, read_answer
from .budget import Budget, BudgetSpent, EndedByBudget
from .conversation import Conversation

ToolRunner = Callable[[str, str], Awaitable[ToolOutcome]]

INTERRUPTED = "the call did not finish: the time for this task is over"
RUN_IS_OVER = "the call did not finish: the budget of the run is spent"

#: Answers that cannot be used, by stop reason, and how many of them in a row end the agent. A call that its endpoint
#: cannot read is mostly a slip of the model, which it does not repeat.
_TRIES = {"malformed": 3, "filtered": 2, "refused": 2, "empty": 2}


class HermesAgentLoop:
    """A multi-turn agent over any model that has `chat_completion`.

    `tool_schemas` are OpenAI function schemas; only tools in `valid_tool_names` may be called. Tools act in the
    sandbox registered for `task_id`, which is started at first use; `run_tool` replaces that.
    `max_turns` counts model calls, `max_tokens` limits each answer, `token_budget` all of them together
    (prompt and completion), `cost_budget` what they cost in dollars, `seconds` the whole run, less what an
    endpoint's faults took. `budget` is shared with other agents; `priced` adds costs that answers do not tell.
    """

    def __init__(
        self,
        server: Model,
        tool_schemas: list[dict[str, Any]],
        valid_tool_names: Collection[str],
        max_turns: int = 30,
        task_id: str | None = None,
        temperature: float | None = 1.0,
        max_tokens: int | None = None,
        extra_body: dict[str, Any] | None = None,
        *,
        seconds: float | None = None,
        token_budget: int | None = None,
        cost_budget: Decimal | None = None,
        budget: Budget | None = None,
        priced: Callable[[Usage], Usage] | None = None,
        run_tool: ToolRunner | None = None,
    ) -> None:
        self.server = server
        self.tool_schemas = tool_schemas
        self.valid_tool_names = frozenset(valid_tool_names)
        self.max_turns = max_turns
        self.task_id = task_id
        self.temperature = temperature
        self.max_tokens = max_tokens
        self.extra_body = extra_body
        self.seconds = seconds
        self.token_budget = token_budget
        self.cost_budget = cost_budget
        self.budget = budget or Budget()
        self.priced = priced
        self.run_tool = run_tool or self._by_task_id()
        #: What there is so far; complete once `run` has returned, and what was paid for when it raises.
        self.result = AgentResult()
        #: Seconds spent waiting for the model and for tools.
        self.model_seconds = 0.0
        self.tool_seconds = 0.0
        #: The agent's time. What an endpoint's faults cost is not in it, nor in `model_seconds`.
        self.clock = AgentClock(seconds)
        self._conversation = Conversation([], self.valid_tool_names, verbatim=False)
        self._asking = False
        self._tries = _TRIES
        # Answers in a row that could not be used.
        self._unusable = 0

    @property
    def backoff(self) -> float:
        """Seconds lost to an endpoint's faults, which are in neither of the two above."""
        return self.clock.backoff

    @property
    def retries(self) -> int:
        """Requests that were made again after such faults."""
        return self.clock.retries

    async def run(self, messages: list[dict[str, Any]]) -> AgentResult:
        """Work on `messages` (not changed) until the agent ends, and return what it left.

        Raises InfrastructureError when the endpoint or the sandbox fails, BudgetSpent when others or this agent
        spent the shared budget; `result` then holds what came before.
        """
        async with EndedByBudget(self.budget, spared=self._awaits_an_answer) as self._ending:
            return await self._run(messages)

    def _awaits_an_answer(self) -> bool:
        """Whether an answer is on its way: it is paid for in any case, and its cost should be known."""
        return self._asking and not self.clock.waiting and not self.budget.out_of_time

    async def _run(self, messages: list[dict[str, Any]]) -> AgentResult:
        traced = isinstance(self.server, Traced)
        self._conversation = Conversation(messages, self.valid_tool_names, verbatim=traced)
        result = self.result = AgentResult(messages=self._conversation.recorded)
        if isinstance(self.server, Traced):
            result.trace = self.server.trace
        # Of sampled tokens none may be left out because of what they say: that would change what is trained on.
        self._tries, self._unusable = {} if traced else _TRIES, 0
        clock = self.clock = AgentClock(self.seconds)
        try:
            async with clock:
                result.stop_reason = await self._turns(result)
        except TimeoutError:
            if not clock.expired:  # the server's own time-out, not ours
                raise
            if not result.turns_used:
                # Nothing was ever done that could be scored: the agent was not slow, nobody answered.
                raise InfrastructureError(f"no answer within the agent's {self.seconds:g} s", kind="endpoint") from None
            result.stop_reason = "time"
        except ContextWindowExceeded:
            result.stop_reason = "context"
        result.finished_naturally = result.stop_reason == "finished"
        return result

    async def _turns(self, result: AgentResult) -> str:
        while result.turns_used < self.max_turns:
            if spent := self._spent(result, []):
                return spent
            try:
                answer = await self._ask(result)
            except NoAnswer as problem:
                if self._ask_again(AskedAgain(result.turns_used, problem.reason, str(problem))):
                    continue
                return problem.reason
            if not answer.calls and not self.clock.overdue:
                why = answer.stop_reason
                if self._ask_again(AskedAgain(result.turns_used - 1, why, answer.refusal or answer.text)):
                    continue
            self._unusable = 0
            self._conversation.add_answer(answer)
            if self.clock.overdue:
                self._leave_unanswered(answer.calls, INTERRUPTED)
                return "time"
            if not answer.calls:
                return self._end_with(answer)
            if spent := self._spent(result, answer.calls):
                return spent
            if ended := await self._run_calls(result, answer.calls):
                return ended
        return "max_turns"

    def _ask_again(self, unusable: AskedAgain) -> bool:
        """Note that the model is asked the same once more, if the answer that it gave is none and it may be."""
        self._unusable += 1
        if self._unusable >= self._tries.get(unusable.why, 0) or self.result.turns_used >= self.max_turns:
            return False
        self.result.asked_again.append(unusable)
        return True

    def _end_with(self, answer: Answer) -> str:
        if answer.stop_reason == "fault":
            raise InfrastructureError(
                f"the model's answer broke off: finish_reason {answer.finish_reason!r}", kind="endpoint"
            )
        return answer.stop_reason

    def _spent(self, result: AgentResult, calls: list[Call]) -> str | None:
        """Return which of the task's own budgets the answer with these calls has used up, if it did."""
        if self.budget.exhausted is not None:
            self._leave_unanswered(calls, RUN_IS_OVER)
            self.budget.check()
        if self.token_budget is not None and result.usage.total_tokens >= self.token_budget:
            self._leave_unanswered(calls, "the call was not run: the token budget of this task is spent")
            return "tokens"
        if self.cost_budget is None:
            return None
        if result.usage.cost is None:
            raise BudgetSpent(
                f"the task's limit of {dollars(self.cost_budget)} cannot be enforced: the price of an answer is unknown"
            )
        if result.usage.cost >= self.cost_budget:
            self._leave_unanswered(calls, "the call was not run: the cost budget of this task is spent")
            return "cost"
        return None

    async def _ask(self, result: AgentResult) -> Answer:
        parameters: dict[str, Any] = {"n": 1}
        if self.tool_schemas:
            parameters["tools"] = self.tool_schemas
        for name in ("temperature", "max_tokens", "extra_body"):
            if (value := getattr(self, name)) is not None:
                parameters[name] = value
        self._asking = True
        try:
            answer = read_answer(await self._completion(parameters), self._conversation.call_ids)
            usage = self.priced(answer.usage) if self.priced is not None else answer.usage
            result.turns_used += 1
            result.usage += usage
            self.budget.add(usage)
        finally:
            self._asking = False
        result.reasoning_per_turn.append(answer.reasoning)
        return answer

    async def _completion(self, parameters: dict[str, Any]) -> Any:
        started, backoff = time.perf_counter(), self.clock.backoff
        try:
            return await self.server.chat_completion(messages=self._conversation.request(), **parameters)
        finally:
            self.model_seconds += time.perf_counter() - started - (self.clock.backoff - backoff)

    async def _run_calls(self, result: AgentResult, calls: list[Call]) -> str | None:
        """Run the calls of one turn in order; each gets its tool message, whatever happens.

        Return why the agent ends, where what it did in its sandbox leaves nothing more to do.
        """
        started = time.perf_counter()
        for index, call in enumerate(calls):
            try:
                outcome = await self.run_tool(call.name, call.arguments)
            except asyncio.CancelledError:
                # Out of time, most likely: a conversation with unanswered calls is not one that can be read on.
                self._leave_unanswered(calls[index:], RUN_IS_OVER if self._ending.happened else INTERRUPTED)
                raise
            except SandboxBroken as broken:
                self._leave_unanswered(calls[index:], f"not finished: {broken}")
                return "sandbox_broken"
            finally:
                self.tool_seconds += time.perf_counter() - started
                started = time.perf_counter()
            if outcome.error is not None:
                turn = result.turns_used - 1
                result.tool_errors.append(ToolError(turn, call.name, call.arguments, outcome.error, outcome.content))
            self._conversation.add_result(call, outcome.content)
        return None

    def _leave_unanswered(self, calls: list[Call], why: str) -> None:
        for call in calls:
            self._conversation.add_result(call, why)

    def _by_task_id(self) -> ToolRunner:
        from ..tools.by_task_id import tool_runner

        return tool_runner(self.task_id, self.valid_tool_names)

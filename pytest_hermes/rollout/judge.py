"""The judge model of a run: who scores by `ctx.judge`, with a budget of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..background import on_loop
from ..errors import FatalError, HermesError, InfrastructureError
from ..judging import Judging, RunJudge
from ..models.clock import AgentClock
from ..models.protocol import ModelSource
from ..task import Task
from ..usage_block import read_usage
from .budget import Budget, BudgetSpent, EndedByBudget

#: What is asked is of no task.
_NO_TASK = Task(id="judge", prompt="")


@dataclass(frozen=True)
class JudgeModel:
    """One model, connection pool and budget, whichever attempt asks.

    Its connections and its budget live on `loop`, from where they are called whatever loop runs. `refused` is told of
    a refused key or model.
    """

    source: ModelSource
    budget: Budget
    loop: Callable[[], asyncio.AbstractEventLoop]
    refused: Callable[[FatalError], object] = lambda refusal: None

    def new_judging(self) -> Judging:
        """Return the judging of an attempt that is judged by this model."""
        judge = _AttemptJudge(self)
        return judge.judging


class _AttemptJudge(RunJudge):
    def __init__(self, model: JudgeModel) -> None:
        self._model = model
        self.judging = Judging(judge=self)

    def __repr__(self) -> str:
        return f"<judge {self._model.source.name!r}>"

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Any:
        """Return the judge's answer, counted and paid for apart from the agent's.

        Raises InfrastructureError of kind `verifier` when there is none, FatalError when the key or the model is
        refused, BudgetSpent when the judge's budget is spent.
        """
        return await on_loop(self._model.loop(), self._ask(messages, parameters))

    async def _ask(self, messages: list[dict[str, Any]], parameters: dict[str, Any]) -> Any:
        source, budget = self._model.source, self._model.budget
        budget.check()
        # A clock of its own: no agent's time stands still while a judge is asked, and its retries are not an agent's.
        clock = AgentClock(None)
        try:
            async with EndedByBudget(budget, spared=lambda: not clock.waiting), clock:
                completion = await source.for_task(_NO_TASK).chat_completion(messages=messages, **parameters)
        except BudgetSpent:
            raise
        except FatalError as refusal:
            named = FatalError(f"judge {source.name!r}: {refusal}", kind=refusal.kind)
            self._model.refused(named)
            raise named from refusal
        except HermesError as error:
            raise InfrastructureError(f"judge {source.name!r} did not answer: {error}", kind="verifier") from error
        usage = source.priced(read_usage(getattr(completion, "usage", None)))
        self.judging.answered(usage)
        budget.add(usage)
        return completion

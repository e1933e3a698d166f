"""What a run may spend, all its attempts together."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import TracebackType

from ..errors import InfrastructureError
from ..result import Usage, dollars


class BudgetSpent(InfrastructureError):
    """A limit of the run does not let an attempt go on, though its agent might have."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="budget")


@dataclass(frozen=True, kw_only=True)
class BudgetLimits:
    """How much there is of what a run may use up; None is no limit."""

    #: Dollars.
    cost: Decimal | None = None
    #: Prompt and completion.
    tokens: int | None = None
    #: Model calls that were answered.
    turns: int | None = None
    #: Wall time.
    seconds: float | None = None
    #: Whether it is for the judge alone, which has options of its own.
    of_judge: bool = False

    @property
    def of_answers(self) -> bool:
        """Whether any of it is used up by answers."""
        return not (self.cost is None and self.tokens is None and self.turns is None)


class Budget:
    """Counts what answers cost. Lives on the loop of the rollouts; other threads may read its attributes."""

    def __init__(self, limits: BudgetLimits | None = None, *, began: float | None = None) -> None:
        """The time began at `began`, by the monotonic clock that all processes of a machine share; None: now."""
        self.limits = limits or BudgetLimits()
        self.spent = Usage()
        #: Of it, what was spent by way of this object.
        self.spent_here = Usage()
        #: Answers so far.
        self.turns = 0
        #: Why nothing more may be spent; None while it may.
        self.exhausted: str | None = None
        #: Whether the time is over. Then there is no waiting for answers that are on their way, either.
        self.out_of_time = False
        self._began = time.monotonic() if began is None else began
        self._watchers: list[Callable[[], object]] = []
        self._end_of_time: asyncio.TimerHandle | None = None

    def set_clock(self) -> None:
        """Let the running loop see to it that the time has an end; again when the loop's own clock was set back."""
        if self.limits.seconds is not None and not self.out_of_time:
            if self._end_of_time is not None:
                self._end_of_time.cancel()
            left = self._began + self.limits.seconds - time.monotonic()
            self._end_of_time = asyncio.get_running_loop().call_later(max(left, 0), self._end_time)

    def _end_time(self) -> None:
        self.out_of_time = True
        self.end(f"the run's {self.limits.seconds:g} s are over (--hermes-max-seconds)")

    def add(self, usage: Usage) -> None:
        """Count an answer. Tells all watchers when it was the one that spent the rest."""
        self.spent_here += usage
        self._count(usage)
        if self.exhausted is None and (why := self._reason(usage)):
            self.end(why)

    def end(self, why: str) -> None:
        """Let nothing more be spent. Tells all watchers."""
        self.exhausted = self.exhausted or why
        for tell in list(self._watchers):
            tell()

    def _count(self, usage: Usage) -> None:
        self.spent += usage
        self.turns += 1

    def _reason(self, last: Usage) -> str | None:
        limits = self.limits
        whose, option = (
            ("the judge's", "--hermes-judge-max-cost") if limits.of_judge else ("the run's", "--hermes-max-cost")
        )
        # A limit that silently did not hold would be worse than a run that ends.
        if limits.tokens is not None:
            if not last.total_tokens and last.cost is None:
                return f"--hermes-max-tokens={limits.tokens} cannot be enforced: the endpoint reports no token usage"
            if self.spent.total_tokens >= limits.tokens:
                used = self.spent.total_tokens
                tokens = "1 token" if limits.tokens == 1 else f"{limits.tokens:,} tokens"
                return f"the run's budget of {tokens} is spent ({used:,} used; --hermes-max-tokens)"
        if limits.cost is not None:
            if self.spent.cost is None:
                other = "" if limits.of_judge else ", or use --hermes-max-tokens, which needs no prices"
                return (
                    f"{option}={limits.cost} cannot be enforced: the price of an answer is unknown; "
                    f"pip install 'pytest-hermes[prices]' for more prices{other}"
                )
            if self.spent.cost >= limits.cost:
                return f"{whose} budget of {dollars(limits.cost)} is spent ({dollars(self.spent.cost)} used; {option})"
        if limits.turns is not None and self.turns >= limits.turns:
            turns = "1 turn" if limits.turns == 1 else f"{limits.turns:,} turns"
            return f"the run's budget of {turns} is spent ({self.turns:,} used; --hermes-max-turns)"
        return None

    def check(self) -> None:
        """Raise BudgetSpent when nothing more may be spent."""
        if self.exhausted is not None:
            raise BudgetSpent(self.exhausted)

    def watch(self, tell: Callable[[], object]) -> None:
        """Call `tell` when the budget runs out, and again when the time is over after something else was."""
        self._watchers.append(tell)

    def unwatch(self, tell: Callable[[], object]) -> None:
        self._watchers.remove(tell)


class EndedByBudget:
    """Ends the block under it with BudgetSpent when the budget runs out, as asyncio.timeout does after a time.

    `spared` is asked then whether the block may go on all the same.
    """

    def __init__(self, budget: Budget, *, spared: Callable[[], bool]) -> None:
        self._budget = budget
        self._spared = spared
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        #: Whether the block was cancelled.
        self.happened = False

    async def __aenter__(self) -> EndedByBudget:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        self._budget.watch(self._tell)
        return self

    def _tell(self) -> None:
        if not self.happened and not self._spared():
            assert self._task is not None
            self.happened = True
            self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.unwatch(self._tell)
        if not self.happened:
            return
        assert self._task is not None
        # Somebody else may have cancelled it as well, and then wants to hear so.
        if self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise BudgetSpent(self._budget.exhausted or "") from None


class SharedBudget(Budget):
    """A budget of several processes, or of several runs in one: each appends to one file what its answers cost.

    Each reads there, with its own next answer, what the others have spent.
    """

    def __init__(self, limits: BudgetLimits, ledger: Path, *, began: float) -> None:
        super().__init__(limits, began=began)
        self._ledger = ledger
        self._read = 0

    def _count(self, usage: Usage) -> None:
        if not self.limits.of_answers:
            super()._count(usage)
            return
        entry = [usage.prompt_tokens, usage.completion_tokens, None if usage.cost is None else str(usage.cost)]
        with self._ledger.open("ab+", buffering=0) as file:
            file.write(json.dumps(entry).encode() + b"\n")  # one write: lines of several processes do not mix
            file.seek(self._read)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._read += len(whole)
        for prompt, completion, cost in map(json.loads, whole.splitlines()):
            spent = None if cost is None else Decimal(cost)
            super()._count(Usage(prompt_tokens=prompt, completion_tokens=completion, cost=spent))


def new_budget(limits: BudgetLimits, began: float, ledger: Path | None) -> Budget:
    """Return a budget of one run, or, with a ledger, of all runs that note in it what they spend."""
    return Budget(limits, began=began) if ledger is None else SharedBudget(limits, ledger, began=began)

"""What a run may spend, all its attempts together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from ..errors import InfrastructureError
from ..result import Usage, dollars


class BudgetSpent(InfrastructureError):
    """A limit on money or tokens does not let an attempt go on, though its agent might have."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="budget")


class Budget:
    """Counts what answers cost. Lives on the loop of the rollouts; other threads may read `spent` and `exhausted`."""

    def __init__(self, *, cost: Decimal | None = None, tokens: int | None = None) -> None:
        """`cost` is in dollars, `tokens` are prompt and completion; None is no limit."""
        self.cost = cost
        self.tokens = tokens
        self.spent = Usage()
        #: Why nothing more may be spent; None while it may.
        self.exhausted: str | None = None
        self._watchers: list[Callable[[], object]] = []

    def add(self, usage: Usage) -> None:
        """Count an answer. Tells all watchers when it was the one that spent the rest."""
        self._count(usage)
        if self.exhausted is None and (why := self._reason(usage)):
            self.exhausted = why
            for tell in list(self._watchers):
                tell()

    def _count(self, usage: Usage) -> None:
        self.spent += usage

    def _reason(self, last: Usage) -> str | None:
        # A limit that silently did not hold would be worse than a run that ends.
        if self.tokens is not None:
            if not last.total_tokens and last.cost is None:
                return f"--hermes-max-tokens={self.tokens} cannot be held: the endpoint does not say what it used"
            if self.spent.total_tokens >= self.tokens:
                used = self.spent.total_tokens
                return f"the run's budget of {self.tokens:,} tokens is spent ({used:,} used; --hermes-max-tokens)"
        if self.cost is not None:
            if self.spent.cost is None:
                return (
                    f"--hermes-max-cost={self.cost} cannot be held: the price of an answer is not known; "
                    "pip install 'pytest-hermes[prices]' knows many, --hermes-max-tokens needs none"
                )
            if self.spent.cost >= self.cost:
                used_dollars = dollars(self.spent.cost)
                return f"the run's budget of {dollars(self.cost)} is spent ({used_dollars} used; --hermes-max-cost)"
        return None

    def check(self) -> None:
        """Raise BudgetSpent when nothing more may be spent."""
        if self.exhausted is not None:
            raise BudgetSpent(self.exhausted)

    def watch(self, tell: Callable[[], object]) -> None:
        """Call `tell` once should the budget run out."""
        self._watchers.append(tell)

    @contextmanager
    def watched(self, tell: Callable[[], object]) -> Iterator[None]:
        """Call `tell` once should the budget run out within the block."""
        self.watch(tell)
        try:
            yield
        finally:
            self._watchers.remove(tell)


class SharedBudget(Budget):
    """A budget of several processes: each appends what its answers cost to one file, and reads what the others did.

    A process hears of the others' spending with its own next answer.
    """

    def __init__(self, ledger: Path, *, cost: Decimal | None = None, tokens: int | None = None) -> None:
        super().__init__(cost=cost, tokens=tokens)
        self._ledger = ledger
        self._read = 0

    def _count(self, usage: Usage) -> None:
        if self.cost is None and self.tokens is None:
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

"""The judging of one attempt: which judge there is, who scored, and what the judge's answers used."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, Protocol

from .errors import UsageError
from .result import Usage

#: Who gave a score.
Scorer = Literal["judge", "heuristic"]

#: Scores an answer (first) by a reference answer (second), from 0 to 1.
Heuristic = Callable[[str, str], float]


class Judge(Protocol):
    """Whoever has `chat_completion`: `ctx.judge`, `self.server` of an environment, or any model."""

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Any: ...


class RunJudge(abc.ABC):
    """The judge model of a run, as one attempt asks it.

    It waits out its endpoint's faults, and counts its own answers in `judging`. The errors that it raises name it:
    FatalError, or another InfrastructureError.
    """

    judging: Judging

    @abc.abstractmethod
    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Any:
        """Return an OpenAI chat completion."""


class Judging:
    """What the judges of one attempt said and used."""

    def __init__(self, *, fallback: Heuristic | None = None, judge: Judge | None = None) -> None:
        """Let `fallback` score where a judge does not and the reward function names no heuristic; None: an error.

        `judge` is what `ctx.judge` is.
        """
        self.fallback = fallback
        self._judge = judge
        #: Who scored: the heuristic as soon as one score is its; None while no judge was asked.
        self.source: Scorer | None = None
        #: What the judges' answers used.
        self.usage = Usage()

    @property
    def judge(self) -> Judge:
        """The judge of the run. Raises UsageError when there is none."""
        if self._judge is None:
            raise UsageError("ctx.judge needs a judge model: add --hermes-judge-model=NAME")
        return self._judge

    def answered(self, usage: Usage) -> None:
        """Count an answer of a judge."""
        self.usage += usage
        self.source = self.source or "judge"

    def scored_by_heuristic(self) -> None:
        self.source = "heuristic"

    @contextmanager
    def current(self) -> Iterator[None]:
        """Let this be the judging of the code in the block, and of all tasks that it starts."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)


_CURRENT: ContextVar[Judging | None] = ContextVar("hermes_judging", default=None)


def current_judging() -> Judging | None:
    """Return the judging of the attempt that the running code belongs to; None outside of any."""
    return _CURRENT.get()

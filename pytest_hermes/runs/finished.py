"""Attempts that need not run."""

from __future__ import annotations

from concurrent.futures import Future

from ..judging import Judging
from ..result import AgentResult
from ..rollout.attempt import Rollout
from ..rollout.record import AttemptRecord
from ..rollout.sessions import attempt_session
from ..tools.context import ToolContext
from .plan import PlannedAttempt


class FinishedHandle:
    """The handle of an attempt that is over: another process, or an earlier one of the run, finished it."""

    def __init__(self, record: AttemptRecord, attempt: PlannedAttempt, key: str, judging: Judging) -> None:
        result = AgentResult(
            turns_used=record.turns_used,
            finished_naturally=record.finished_naturally,
            stop_reason=record.stop_reason or "",
        )
        planned = attempt.planned
        session = attempt_session(attempt.loaded.config.env, key, lambda: planned.benchmark.sandbox(planned.item))
        context = ToolContext(key, session=session)
        context.judging = judging
        self.future: Future[Rollout] = Future()
        self.future.set_result(Rollout(record, result, context, session))

    def release(self) -> None:
        """There is no sandbox."""

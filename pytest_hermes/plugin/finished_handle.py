"""Attempts that need not run."""

from __future__ import annotations

from concurrent.futures import Future

from ..judging import Judging
from ..result import AgentResult
from ..rollout.attempt import Rollout
from ..rollout.record import AttemptRecord
from ..tools.context import ToolContext
from ..tools.place import Place


class FinishedHandle:
    """The handle of an attempt that is over: another process, or an earlier session of the run, finished it."""

    def __init__(self, record: AttemptRecord, place: Place, key: str, judging: Judging) -> None:
        result = AgentResult(
            turns_used=record.turns_used,
            finished_naturally=record.finished_naturally,
            stop_reason=record.stop_reason or "",
        )
        self.future: Future[Rollout] = Future()
        context = ToolContext(key, place=place)
        context.judging = judging
        self.future.set_result(Rollout(record, result, context, place))

    def release(self) -> None:
        """There is no sandbox."""

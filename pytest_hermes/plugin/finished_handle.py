"""Attempts that need not run."""

from __future__ import annotations

from concurrent.futures import Future

from ..result import AgentResult
from ..rollout.attempt import Rollout
from ..rollout.record import AttemptRecord
from ..tools.context import ToolContext
from ..tools.place import Place


class FinishedHandle:
    """The handle of an attempt that is over: another process, or an earlier session of the run, finished it."""

    def __init__(self, record: AttemptRecord, place: Place, key: str) -> None:
        result = AgentResult(
            turns_used=record.turns_used,
            finished_naturally=record.finished_naturally,
            stop_reason=record.stop_reason or "",
        )
        self.future: Future[Rollout] = Future()
        self.future.set_result(Rollout(record, result, ToolContext(key, place=place), place))

    def release(self) -> None:
        """There is no sandbox."""

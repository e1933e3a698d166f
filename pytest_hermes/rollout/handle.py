"""One submitted attempt, from the queue to the end of its sandbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime

from ..errors import InfrastructureError
from ..result import AgentResult
from ..sandbox.protocol import Sandbox
from ..tools.context import ToolContext
from ..tools.session import SandboxSession
from .attempt import Attempt, Rollout, bare_record
from .boundary import INTERRUPTED, Ending
from .captured_output import CapturedOutput
from .plan import AttemptPlan
from .record import EarlierError


class Handle:
    """What is known of one submitted attempt. `future` has its Rollout once the record is written."""

    def __init__(self, plan: AttemptPlan, key: str, call: Callable[[Callable[[], object]], object]) -> None:
        """`call` calls a function on the loop of the attempt, soon, from any thread."""
        self.future: Future[Rollout] = Future()
        self.plan = plan
        self.key = key
        self.captured = CapturedOutput()
        #: Whether the engine has cancelled it.
        self.stopped = False
        #: The start that is in progress, or the last one.
        self.attempt: Attempt | None = None
        self.earlier: list[EarlierError] = []
        #: Seconds that it waited for its turn; 0 until then.
        self.queued = 0.0
        self._created = datetime.now(UTC)
        self._queued_at = time.perf_counter()
        self._call = call
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let a held sandbox close. Any thread may call this, more than once."""
        self._call(self._released.set)

    async def released(self) -> None:
        await self._released.wait()

    def is_stopped(self) -> bool:
        return self.stopped

    def begin(self) -> None:
        """Its turn has come."""
        self.queued = time.perf_counter() - self._queued_at

    def rollout(self, ending: Ending, run_id: str) -> Rollout:
        """Return how it ended where that was outside of its work, with as much as can be told of it."""
        attempt = self.attempt
        if attempt is None:
            session = SandboxSession(_no_sandbox, backend=self.plan.config.terminal_backend)
            record = bare_record(self.plan, run_id, ending, self._created)
            return Rollout(record, AgentResult(), ToolContext(self.key, session=session), session, self.captured)
        if ending.error is not None and ending.error.kind == INTERRUPTED:
            return attempt.rollout(ending, self.captured)
        return attempt.bare_rollout(ending, self.captured)


def _no_sandbox() -> Sandbox:
    raise InfrastructureError("the attempt never had a sandbox", kind="sandbox")

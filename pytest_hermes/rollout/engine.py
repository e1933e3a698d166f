"""Many rollouts in flight on one event loop, in a thread of its own; whoever wants one waits for its future."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Literal

from ..background import LoopElsewhere
from ..errors import InfrastructureError, Refused
from ..judging import Judging
from ..sandbox.steadfast import Steadfast
from ..tools.bridge import install_bridge
from .attempt import Attempt, AttemptPlan, MakePlace, Rollout
from .budget import Budget
from .record import AttemptRecord, EarlierError
from .results_file import ResultsFile

#: Why a run was ended before all of it was done.
FatalKind = Literal["refused", "budget", "results"]


class Handle:
    """One submitted attempt. `future` has its Rollout once the record is written."""

    def __init__(self, engine: Engine) -> None:
        self.future: Future[Rollout] = Future()
        self._engine = engine
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let a held sandbox close. Any thread may call this, more than once."""
        self._engine.call(self._released.set)

    async def released(self) -> None:
        await self._released.wait()


class Engine:
    """Runs attempts, at most `limit` at once; an attempt holds its place until its sandbox is closed.

    `on_record` is called on the engine's thread with each record, without its conversation, once it is written.
    Without `results` they are written nowhere. `budget` is what all attempts together may spend. One that ends in an
    infrastructure error is started afresh, in a new sandbox, `infra_retries` times. `make_judging` says who judges it.
    """

    def __init__(
        self,
        *,
        limit: int,
        run_id: str,
        results: ResultsFile | None,
        make_place: MakePlace,
        on_record: Callable[[AttemptRecord], object],
        loop: LoopElsewhere,
        task_timeout: float | None = None,
        budget: Budget | None = None,
        infra_retries: int = 0,
        make_judging: Callable[[], Judging] = Judging,
    ) -> None:
        self.limit = limit
        self.in_flight = 0
        #: Why the whole run cannot go on; None while it can. Then attempts without a result are cancelled.
        self.fatal: str | None = None
        self.fatal_kind: FatalKind | None = None
        #: Attempts that were never started, or cancelled without a record.
        self.cancelled = 0
        self.budget = budget or Budget()
        self._infra_retries = infra_retries
        self._make_judging = make_judging
        self._run_id = run_id
        self._results = results
        self._make_place = make_place
        self._on_record = on_record
        self._task_timeout = task_timeout
        self._background = loop
        self._places = asyncio.Semaphore(limit)
        self._running: dict[asyncio.Task[None], Handle] = {}
        self._stopping = False
        self._background.run(self._prepare_loop())

    async def _prepare_loop(self) -> None:
        install_bridge(asyncio.get_running_loop())
        self.budget.watch(self._budget_is_spent)
        self.budget.start_clock()

    def submit(self, plan: AttemptPlan, key: str) -> Handle:
        """Queue one attempt; they start in the order of submission. `key` names its sandbox, unique in the run."""
        handle = Handle(self)
        self._background.submit(self._run(plan, key, handle))
        return handle

    async def run(self, plan: AttemptPlan, key: str) -> Rollout:
        """Run one attempt within the caller's own task, on the engine's loop, when there is a place for it.

        What cancels the caller cancels the attempt. Raises InfrastructureError once the whole run cannot go on.
        """
        handle = Handle(self)
        try:
            await self._run(plan, key, handle)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.fatal is None or (task is not None and task.uncancel()):
                raise
        if handle.future.cancelled():
            raise InfrastructureError(self.fatal or "the run was stopped", kind=self.fatal_kind or "stopped")
        return handle.future.result()

    def call(self, function: Callable[[], object]) -> None:
        """Call a function on the engine's loop, soon."""

        async def on_loop() -> None:
            function()

        self._background.submit(on_loop())

    async def _run(self, plan: AttemptPlan, key: str, handle: Handle) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running[task] = handle
        queued = time.perf_counter()
        try:
            async with self._places:
                if not self._stopping:
                    await self._in_flight(plan, key, handle, time.perf_counter() - queued)
        finally:
            del self._running[task]
            self.cancelled += handle.future.cancel()  # False for one that has its result

    async def _in_flight(self, plan: AttemptPlan, key: str, handle: Handle, queued: float) -> None:
        self.in_flight += 1
        earlier: list[EarlierError] = []
        try:
            while (failed := await self._start(plan, key, handle, queued, earlier)) is not None:
                earlier.append(failed)
        except Refused as refusal:
            self._halt("refused", str(refusal))
        finally:
            self.in_flight -= 1

    async def _start(
        self, plan: AttemptPlan, key: str, handle: Handle, queued: float, earlier: list[EarlierError]
    ) -> EarlierError | None:
        """Run the attempt, in a sandbox of its own, and return what kept it from ending if it is to start afresh."""
        attempt = Attempt(
            plan,
            run_id=self._run_id,
            key=key,
            make_place=self._make_place,
            task_timeout=self._task_timeout,
            budget=self.budget,
            judging=self._make_judging(),
            earlier_errors=earlier,
        )
        try:
            rollout = await attempt.run(queued)
            record = rollout.record
            if rollout.restartable and len(earlier) < self._infra_retries and not self._stopping:
                assert record.error is not None
                return EarlierError(
                    **dict(record.error),
                    seconds=record.seconds.total,
                    usage=record.usage,
                    judge_usage=record.judge_usage,
                )
            steadfast = Steadfast()
            if rollout.files and self._results is not None:
                loop = asyncio.get_running_loop()
                keeping = loop.run_in_executor(None, self._results.keep_files, record, rollout.files)
                # It is paid for: an interrupt that comes now must not cost the record.
                await steadfast.wait(keeping)
                keeping.result()
            # Written before the sandbox is closed: a backend that hangs at that must not cost a result.
            self._write(record)
            handle.future.set_result(rollout)
            steadfast.release()
            if self._results is not None:
                await asyncio.to_thread(self._results.sync)
            if plan.hold:
                await handle.released()
            return None
        finally:
            await attempt.place.close()

    def _write(self, record: AttemptRecord) -> None:
        try:
            if self._results is not None:
                self._results.append(record)
        except OSError as error:
            assert self._results is not None
            # Whatever runs on would be paid for and lost.
            self._halt("results", f"cannot write results to {self._results.path}: {error.strerror}")
        self._on_record(record.without_conversation())

    def _budget_is_spent(self) -> None:
        # Those in flight hear of it themselves: they end with a record of what they did.
        self.fatal, self.fatal_kind = self.budget.exhausted, "budget"
        self._stopping = True

    def _halt(self, kind: FatalKind, message: str) -> None:
        """Let nothing more start, and cancel what has no result yet; it leaves no record."""
        if self._stopping:
            return
        self.fatal, self.fatal_kind = message, kind
        self._stopping = True
        for task, handle in self._running.items():
            if task is not asyncio.current_task() and not handle.future.done():
                task.cancel()

    def stop(self, timeout: float = 30) -> None:
        """Cancel what is queued and in flight, and wait at most `timeout` seconds for its sandboxes to close."""
        self._background.submit(self.end()).result(timeout)

    async def end(self) -> None:
        """Cancel what is queued and in flight, and wait for its sandboxes to close; for who is on the engine's loop."""
        self._stopping = True
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

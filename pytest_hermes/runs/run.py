"""A run: the engine, the results and the lock of one process, from its first attempt to the end of its sandboxes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, Self

from ..background import BackgroundLoop, BorrowedLoop
from ..core.open_files import raise_limit
from ..errors import InfrastructureError
from ..judging import Judging
from ..models.protocol import Adapting, ModelSource
from ..rollout.attempt import Rollout
from ..rollout.boundary import Classify, no_meaning
from ..rollout.budget import new_budget
from ..rollout.engine import Engine
from ..rollout.judge import JudgeModel
from ..rollout.plan import AttemptPlan
from ..rollout.record import AttemptRecord
from ..rollout.watchdog import Watchdog
from ..sandbox.status import statuses
from .finished import FinishedHandle
from .plan import PlannedAttempt, RunPlan
from .progress import Progress
from .refuge import refuge_of
from .results_file import ResultsFile
from .results_watch import ResultsWatch
from .shared_folder import SharedFolder


class Handle(Protocol):
    """One submitted attempt."""

    @property
    def future(self) -> Future[Rollout]: ...

    def release(self) -> None:
        """Let a held sandbox close."""


class Run:
    """Runs what a plan consists of, or what else it is given. Nothing is made before the first attempt, or `start`.

    `async for rollout in run` yields each attempt as it ends, inside of `async with`. A door that runs it from another
    thread gives it a BackgroundLoop, which is closed with it.

    With a `shared` folder, its budgets hold for all runs that note there what they spend. `classify`, `watchdog`,
    `make_judging` and `on_undeclared_reward` are the engine's. `on_record` gets each record instead of `records`, of a
    run that has no end. `on_blocked` is called, in another thread, with a line about code that blocks the loop, once
    it is in `notices`.
    """

    def __init__(
        self,
        plan: RunPlan,
        loop: BackgroundLoop | BorrowedLoop | None = None,
        *,
        shared: SharedFolder | None = None,
        classify: Classify = no_meaning,
        watchdog: Watchdog | None = None,
        make_judging: Callable[[], Judging] | None = None,
        on_undeclared_reward: Callable[[str], object] | None = None,
        on_record: Callable[[AttemptRecord], object] | None = None,
        on_blocked: Callable[[str], object] = lambda line: None,
    ) -> None:
        self.plan = plan
        self.budget = new_budget(plan.budget_limits, plan.began, shared.ledger if shared else None)
        #: Finished attempts, without their conversations, in the order they ended.
        self.records: list[AttemptRecord] = []
        #: What people should hear of at once, a line each: calls of benchmarks' code that blocked the event loop.
        self.notices: list[str] = []
        self.results: ResultsFile | None = None
        self.judge: JudgeModel | None = None
        if plan.judge is not None:
            judge_budget = new_budget(plan.judge_limits, plan.began, shared.judge_ledger if shared else None)
            self.judge = JudgeModel(plan.judge, judge_budget, lambda: self.loop.loop)
            judge_budget.watch(self._judge_budget_is_spent)
        self._loop = loop
        self._classify = classify
        self._watchdog = watchdog
        self._make_judging = make_judging or self._new_judging
        self._on_undeclared_reward = on_undeclared_reward
        self._on_record = on_record or self.records.append
        self._on_blocked = on_blocked
        self._engine: Engine | None = None
        self._watch: ResultsWatch | None = None
        self._watching: Future[None] | None = None
        #: Where results went on when their folder was gone, and why they could not.
        self._moves: list[str] = []
        self._lost: str | None = None
        self._closed = False
        self._iterated = False

    # Starting.

    @property
    def loop(self) -> BackgroundLoop | BorrowedLoop:
        """The loop of the rollouts. Raises RuntimeError for a run that was given none and is in no `async with`."""
        if self._loop is None:
            raise RuntimeError("use a Run without its own loop as: async with Run(plan) as run")
        return self._loop

    @property
    def engine(self) -> Engine:
        self.start()
        assert self._engine is not None
        return self._engine

    def start(self) -> None:
        """Make the folder, the results file and the engine, unless that is done; not on the loop's own thread.

        Raises UsageError when nothing can be written.
        """
        if self._engine is not None:
            return
        plan = self.plan
        raise_limit()
        if plan.folder is not None:
            plan.folder.begin()
            self.results = ResultsFile(plan.folder.path, plan.redactor, refuge_of(plan.run_id))
            self._watch = ResultsWatch(
                self.results, plan.folder, moved=self._tell_moved, lost=self._end_without_results
            )
        self._engine = Engine(
            limit=plan.in_flight,
            run_id=plan.run_id,
            results=self.results,
            task_timeout=plan.options.task_timeout,
            on_record=self._on_record,
            loop=self.loop,
            budget=self.budget,
            infra_retries=plan.options.infra_retries or 0,
            classify=self._classify,
            on_blocked=self._tell_blocked,
            watchdog=self._watchdog,
            on_undeclared_reward=self._on_undeclared_reward,
            make_judging=self._make_judging,
        )
        if self._watch is not None:
            self._watching = self.loop.submit(self._watch.keep_looking())

    def _tell_moved(self, line: str) -> None:
        self._moves.append(line)
        self.notices.append(line)

    def _end_without_results(self, line: str) -> None:
        self._lost = line
        if self._engine is not None:
            self._engine.abort("results", line)

    def _tell_blocked(self, line: str) -> None:
        self.notices.append(line)
        self._on_blocked(line)

    def _new_judging(self) -> Judging:
        return Judging() if self.judge is None else self.judge.new_judging()

    def _judge_budget_is_spent(self) -> None:
        # Without a judge the rest cannot be scored.
        if self._engine is not None and self.judge is not None:
            self._engine.budget.end(self.judge.budget.exhausted or "")

    # Attempts.

    def submit(self, attempt: PlannedAttempt, key: str = "", *, hold: bool = False) -> Handle:
        """Queue an attempt, unless an earlier process of this run has finished it.

        `key` names its sandbox, unique in the run.
        """
        finished = self.plan.folder.finished if self.plan.folder is not None else {}
        if (record := finished.get(attempt.key)) is not None:
            self.records.append(record)
            return self.finished(record, attempt, key)
        return self.engine.submit(attempt.work(hold=hold), key or str(attempt))

    def finished(self, record: AttemptRecord, attempt: PlannedAttempt, key: str) -> Handle:
        """Return the handle of an attempt that need not run: its record is there."""
        return FinishedHandle(record, attempt, key or str(attempt), self._make_judging())

    async def run(self, attempt: AttemptPlan, key: str) -> Rollout:
        """Run one attempt, when a slot is free, and wait for it on the run's own loop.

        Raises InfrastructureError once the whole run cannot go on.
        """
        return await self.engine.run(attempt, key)

    async def __aiter__(self) -> AsyncIterator[Rollout]:
        """Yield the rollouts of the plan as they end.

        Raises InfrastructureError after the last of them, if the run was ended before all attempts had run. Raises
        RuntimeError for a run that is over, or was iterated before: its attempts would be paid for twice.
        """
        if self._closed or self._iterated:
            raise RuntimeError("this run is over: its attempts run once; load a plan for a new Run")
        self._iterated = True
        waiting = {asyncio.wrap_future(self.submit(attempt).future) for attempt in self.plan.attempts()}
        cancelled = False
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                # Others that are in flight may still come to their ends: they are paid for.
                if future.cancelled():
                    cancelled = True
                else:
                    yield future.result()
        if cancelled:
            engine = self.engine
            raise InfrastructureError(engine.fatal or "the run was stopped", kind=engine.fatal_kind or "stopped")

    # How it goes.

    @property
    def progress(self) -> Progress:
        """How the rollouts stand at this moment."""
        if self._engine is None:
            return Progress()
        limiters = [calls for loaded in self.plan.benchmarks if (calls := loaded.source.calls) is not None]
        calls = min(limiters, key=lambda calls: calls.limit - calls.maximum, default=None)
        return Progress(
            in_flight=self._engine.in_flight,
            spent=self._engine.budget.spent_here,
            calls=calls.limit if calls is not None else 0,
            calls_at_most=calls.maximum if calls is not None else 0,
            statuses=(*self._waits(), *statuses()),
            **({} if self.judge is None else {"spent_by_judge": self.judge.budget.spent_here}),
            notices=tuple(self.notices),
            problems=(*self._moves, *self._engine.problems),
            adaptations=tuple(
                dict.fromkeys(
                    line for source in self._sources() if isinstance(source, Adapting) for line in source.adaptations
                )
            ),
        )

    def _waits(self) -> Iterable[str]:
        """Return what calls wait for, of each endpoint that fails: those of the benchmarks, and the judge's."""
        limiters = {source.calls: None for source in self._sources() if source.calls is not None}
        return [waits for calls in limiters if (waits := calls.outage.waits) is not None]

    @property
    def results_path(self) -> Path | None:
        """Where results are written, None while there are none."""
        return self.results.path if self.results is not None else None

    def refresh(self) -> None:
        """Bring `records` up to date; where the rollouts run in this process, it always is."""

    @property
    def abort_reason(self) -> tuple[str, str] | None:
        """The kind and the message of what kept this run from being done to its end, None when nothing did."""
        engine = self._engine
        if self._lost is not None:
            return "results", self._lost
        if engine is None or engine.fatal is None or engine.fatal_kind is None:
            return None
        cut = engine.cancelled or any(record.error and record.error.kind == "budget" for record in self.records)
        # A budget that the last attempt of all used up has cost nothing.
        if not cut and engine.fatal_kind not in ("results", "stopped"):
            return None
        return engine.fatal_kind, self.plan.redactor.text(engine.fatal)

    def check_alive(self) -> None:
        """Give the run up if its event loop has ended, by whatever a benchmark's code did to it."""
        if self._engine is not None and not self._engine.abandoned and not self.loop.alive:
            self._engine.abandon("the run ended, because a benchmark's code broke its event loop")

    # The end.

    def hurry(self) -> None:
        """Let `close` not wait much longer for the sandboxes; for a signal's handler: it sets a flag, and no more."""
        if self._engine is not None:
            self._engine.hurried = True

    def close(self) -> None:
        """End what is in flight, close its sandboxes, connections, results and loop. May be called twice.

        For a run that has a loop of another thread.
        """
        if self._closed:
            return
        self._closed = True
        abandoned = False
        try:
            if self._watching is not None:
                self._watching.cancel()
            if self._engine is not None:
                self._engine.stop()
                abandoned = self._engine.abandoned  # nothing there can be waited for
            if not abandoned:
                for source in self._sources():
                    self.loop.run(source.close())
        finally:
            if isinstance(self._loop, BackgroundLoop):
                self._loop.close(timeout=0 if abandoned else 5)
            self._close_files()

    async def aclose(self) -> None:
        """The same for a run on the running loop, which goes on."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._watching is not None:
                self._watching.cancel()
            if self._engine is not None:
                await self._engine.end()
            for source in self._sources():
                await source.close()
        finally:
            self._close_files()

    def _sources(self) -> Iterable[ModelSource]:
        judge = [self.plan.judge] if self.plan.judge is not None else []
        return [*(loaded.source for loaded in self.plan.benchmarks), *judge]

    def _close_files(self) -> None:
        if self._watch is not None:
            self._watch.look()
        if self.plan.folder is not None:
            self.plan.folder.release()
        if self.results is not None:
            self.results.close()

    async def __aenter__(self) -> Self:
        if self._closed:
            raise RuntimeError("this run is over; load a plan for a new Run")
        self._loop = self._loop or BorrowedLoop(asyncio.get_running_loop())
        starting = asyncio.ensure_future(asyncio.to_thread(self.start))
        try:
            await asyncio.shield(starting)
        except BaseException:
            # Its thread cannot be stopped: what it makes is closed once it is there.
            await asyncio.wait([starting])
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.aclose()

"""Many rollouts in flight on one event loop, in a thread of its own; whoever wants one waits for its future."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from ..background import LoopRunner
from ..core.one_line import described
from ..core.shielded import Shielded
from ..errors import InfrastructureError
from ..judging import Judging
from ..tools.bridge import install_bridge
from .attempt import Attempt, Rollout
from .boundary import (
    Classify,
    Ending,
    Fault,
    RunEnded,
    contain,
    ending_of,
    interrupted,
    no_meaning,
    see_through,
    unrecordable,
)
from .budget import Budget
from .captured_output import CURRENT
from .handle import Handle
from .plan import AttemptPlan
from .record import AttemptRecord, EarlierError, Results
from .user_code import traceback_of
from .watchdog import Watchdog

log = logging.getLogger("pytest_hermes")


#: Why a run was ended before all of it was done.
FatalKind = Literal["refused", "budget", "results", "stopped"]

#: Seconds between two looks at whether the loop is blocked.
_LOOK = 0.2

#: Seconds that code which blocks the loop gets to end, once it has been told to, while the engine stops.
_PATIENCE = 2.0
#: Seconds that sandboxes get to close, in all, after a second interrupt.
_HURRY = 2.0


class Engine:
    """Runs attempts, at most `limit` at once; an attempt holds its slot until its sandbox is closed.

    `on_record` is called on the engine's thread with each record, without its conversation, once it is written.
    Without `results` they are written nowhere. `budget` is what all attempts together may spend. One that ends in an
    infrastructure error is started afresh, in a new sandbox, `infra_retries` times. `make_judging` says who judges it,
    `classify` what exceptions of a benchmark's code mean to the door. `on_blocked` is called, in another thread, with a
    line for people when such code blocks the loop; `watchdog` is that of a loop which several engines share.
    """

    def __init__(
        self,
        *,
        limit: int,
        run_id: str,
        results: Results | None,
        on_record: Callable[[AttemptRecord], object],
        loop: LoopRunner,
        task_timeout: float | None = None,
        budget: Budget | None = None,
        infra_retries: int = 0,
        classify: Classify = no_meaning,
        on_blocked: Callable[[str], object] = log.warning,
        watchdog: Watchdog | None = None,
        on_undeclared_reward: Callable[[str], object] | None = None,
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
        #: What went wrong with attempts after their records were written.
        self.problems: list[str] = []
        #: Whether its loop is blocked for good, and was left to end with the process.
        self.abandoned = False
        #: Set from outside, while `stop` waits: nobody wants to wait much longer.
        self.hurried = False
        self.watchdog = watchdog or Watchdog(on_blocked, on_lost=self.budget.set_clock)
        self._starts_watchdog = watchdog is None
        self._infra_retries = infra_retries
        self._make_judging = make_judging
        self._run_id = run_id
        self._results = results
        self._on_record = on_record
        self._task_timeout = task_timeout
        self._classify = classify
        self._on_undeclared_reward = on_undeclared_reward
        self._background = loop
        self._slots = asyncio.Semaphore(limit)
        self._running: dict[asyncio.Task[Any] | None, Handle] = {}
        self._stopping = False
        #: Held by who publishes a result: the loop's thread, or the one that gives a blocked loop up.
        self._publishing = threading.Lock()
        self._background.run(self._prepare_loop())

    async def _prepare_loop(self) -> None:
        install_bridge(asyncio.get_running_loop())
        if self._starts_watchdog:
            self.watchdog.start(self._background.selector)
        self.budget.watch(self._budget_is_spent)
        self.budget.set_clock()

    def submit(self, plan: AttemptPlan, key: str) -> Handle:
        """Queue one attempt; they start in the order of submission. `key` names its sandbox, unique in the run."""
        handle = Handle(plan, key, self.call)
        self._background.submit(self._run(handle))
        return handle

    async def run(self, plan: AttemptPlan, key: str) -> Rollout:
        """Run one attempt on the engine's loop, when a slot is free, and wait for it there.

        What cancels the caller cancels the attempt. Raises InfrastructureError once the whole run cannot go on.
        """
        handle = Handle(plan, key, self.call)
        task = asyncio.create_task(self._run(handle))
        shielded = Shielded()
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as cancellation:
            shielded.remember(cancellation)
            _cancel(task, handle)
            await shielded.wait(task)
        shielded.release()
        if handle.future.cancelled():
            raise InfrastructureError(self.fatal or "the run was stopped", kind=self.fatal_kind or "stopped")
        return handle.future.result()

    def call(self, function: Callable[[], object]) -> None:
        """Call a function on the engine's loop, soon."""

        async def on_loop() -> None:
            function()

        self._background.submit(on_loop())

    # One attempt, from the queue to the end of its sandbox.

    def _run(self, handle: Handle) -> Coroutine[Any, Any, None]:
        """Return what sees an attempt through. It leaves its record, or the run's reason for having none."""
        return see_through(
            self._in_turn(handle),
            handle.is_stopped,
            ended=lambda fault: self._ended(handle, fault),
            close=lambda: self._close(handle),
        )

    async def _close(self, handle: Handle) -> None:
        """Close the sandbox of the attempt's last start, unless that is done."""
        if handle.attempt is not None and handle.plan.session is None and not handle.attempt.session.closed:
            fault = await contain(handle.attempt.session.close(), handle.is_stopped)
            if isinstance(fault, Fault) and not fault.stopped:
                self._tell_problem(handle, fault.error)

    def _ended(self, handle: Handle, fault: Fault | None) -> None:
        """Conclude an attempt, which was ended by `fault` if that was raised outside of its work."""
        try:
            if fault is not None and not fault.stopped:
                ending = ending_of(fault.error)
                if handle.future.done():
                    self._tell_problem(handle, fault.error)
                elif isinstance(ending, RunEnded):
                    self.abort(ending.kind, ending.message)
                else:
                    self._publish(handle, handle.rollout(ending, self._run_id))
        finally:
            self._running.pop(asyncio.current_task(), None)
            self.cancelled += handle.future.cancel()  # False for one that has its result

    async def _in_turn(self, handle: Handle) -> None:
        CURRENT.set(handle.captured)
        self._running[asyncio.current_task()] = handle
        async with self._slots:
            handle.begin()
            self.in_flight += 1
            try:
                while not self._stopping and await self._start(handle):
                    pass
            finally:
                self.in_flight -= 1

    async def _start(self, handle: Handle) -> bool:
        """Run the attempt in a sandbox of its own, and return whether it is to start afresh."""
        attempt = handle.attempt = Attempt(
            handle.plan,
            run_id=self._run_id,
            key=handle.key,
            task_timeout=self._task_timeout,
            budget=self.budget,
            judging=self._make_judging(),
            queued=handle.queued,
            earlier_errors=handle.earlier,
            watchdog=self.watchdog,
            on_undeclared_reward=self._on_undeclared_reward,
        )
        try:
            outcome = await contain(attempt.work(), handle.is_stopped)
            if isinstance(outcome, Fault) and outcome.stopped:
                return False
            ending = ending_of(outcome.error, self._classify) if isinstance(outcome, Fault) else outcome
            return await self._settle(handle, ending)
        finally:
            await self._close(handle)

    async def _settle(self, handle: Handle, ending: Ending | RunEnded) -> bool:
        """Write down how the attempt ended, and hold its sandbox if it is to be; return whether it starts afresh."""
        if isinstance(ending, RunEnded):
            self.abort(ending.kind, ending.message)
            return False
        assert handle.attempt is not None
        rollout = handle.attempt.rollout(ending, handle.captured)
        error = rollout.record.error
        restarts = max(self._infra_retries, ending.restarts)
        if rollout.restartable and len(handle.earlier) < restarts and not self._stopping:
            assert error is not None
            spent = rollout.record
            handle.earlier.append(
                EarlierError(
                    **dict(error), seconds=spent.seconds.total, usage=spent.usage, judge_usage=spent.judge_usage
                )
            )
            return True
        faults = [await contain(self._keep_files(rollout), handle.is_stopped)]
        self._publish(handle, rollout)
        faults.append(await contain(self._hold(handle), handle.is_stopped))
        for fault in faults:
            if isinstance(fault, Fault) and not fault.stopped:
                self._tell_problem(handle, fault.error)
        return False

    async def _keep_files(self, rollout: Rollout) -> None:
        if not rollout.files or self._results is None:
            return
        keeping = asyncio.get_running_loop().run_in_executor(
            None, self._results.keep_files, rollout.record, rollout.files
        )
        # It is paid for: an interrupt that comes now must not cost it.
        shielded = Shielded()
        await shielded.wait(keeping)
        keeping.result()
        shielded.release()

    async def _hold(self, handle: Handle) -> None:
        if self._results is not None:
            await asyncio.to_thread(self._results.sync)
        if handle.plan.hold:
            await handle.released()

    def _publish(self, handle: Handle, rollout: Rollout) -> None:
        """Write the attempt's record and hand its rollout out, unless that is done."""
        with self._publishing:
            if handle.future.done():
                return
            if self._results is not None:
                rollout = self._written(handle, rollout, self._results)
            try:
                self._on_record(rollout.record.without_conversation())
            except Exception as error:
                self._tell_problem(handle, error)
            handle.future.set_result(rollout)

    def _written(self, handle: Handle, rollout: Rollout, results: Results) -> Rollout:
        try:
            results.append(rollout.record)
        except OSError as error:
            # Whatever runs on would be paid for and lost.
            self.abort("results", f"cannot write results to {results.path}: {error.strerror}")
        except Exception as error:  # what the agent left is nothing that JSON can hold, say
            rollout = handle.rollout(unrecordable(error), self._run_id)
            results.append(rollout.record)
        return rollout

    def _tell_problem(self, handle: Handle, error: BaseException) -> None:
        """Say what went wrong with an attempt beside its record."""
        self.problems.append(f"{handle.plan.task}: {described(error)}")
        log.error("%s: %s", handle.plan.task, traceback_of(error))

    # The run as a whole.

    def _budget_is_spent(self) -> None:
        # Those in flight hear of it themselves: they end with a record of what they did.
        self.fatal, self.fatal_kind = self.budget.exhausted, "budget"
        self._stopping = True

    def abort(self, kind: FatalKind, message: str) -> None:
        """Let nothing more start, and cancel what has no result yet; it leaves no record. On the engine's loop."""
        if self._stopping:
            return
        self.fatal, self.fatal_kind = message, kind
        self._stopping = True
        for task, handle in self._running.items():
            if task is not None and task is not asyncio.current_task() and not handle.future.done():
                _cancel(task, handle)

    def stop(self, timeout: float = 30) -> None:
        """Cancel what is queued and in flight, and wait at most `timeout` seconds for its sandboxes to close.

        For another thread than the loop's. Code that blocks the loop is told to end. Should it not, the loop is left
        to end with the process, as all its sandboxes do then, and what is in flight leaves records that say so.
        """
        if self.abandoned:
            return
        ending = self._background.submit(self.end())
        began = time.monotonic()
        told_at: float | None = None
        while True:
            try:
                ending.result(_LOOK)
                return
            except TimeoutError:
                now = time.monotonic()
            except KeyboardInterrupt:  # once more: nobody wants to wait
                self.abandon("the run was interrupted again before it had ended")
                return
            blocked = self.watchdog.blocked
            if blocked is not None and told_at is None:
                told_at = now
            if blocked is not None:
                self.watchdog.interrupt()
            if blocked is not None and told_at is not None and now - told_at > _PATIENCE:
                self.abandon(f"the run ended while {blocked} blocked the event loop")
                return
            if self.hurried and now - began > _HURRY:
                self.abandon("the run was interrupted again before it had ended")
                return
            if now - began > timeout:
                self.abandon(f"the run ended, and the sandbox did not close within {timeout:g} s")
                return

    def abandon(self, why: str) -> None:
        """Leave the loop to itself, and write records of the attempts in flight from the calling thread."""
        self.abandoned = True
        self.problems.append(f"{why}; the sandboxes end with this process")
        for handle in list(self._running.values()):
            if handle.attempt is not None:  # those that wait for their turn have nothing to tell
                self._publish(handle, handle.rollout(interrupted(why), self._run_id))
        self.cancelled += sum(handle.future.cancel() for handle in self._running.values())

    async def end(self) -> None:
        """Cancel what is queued and in flight, and wait for its sandboxes to close; for who is on the engine's loop."""
        self._stopping = True
        running = {task: handle for task, handle in self._running.items() if task is not None}
        for task, handle in running.items():
            _cancel(task, handle)
        await asyncio.gather(*running, return_exceptions=True)
        if self._starts_watchdog:
            self.watchdog.stop()


def _cancel(task: asyncio.Task[Any], handle: Handle) -> None:
    handle.stopped = True
    task.cancel()

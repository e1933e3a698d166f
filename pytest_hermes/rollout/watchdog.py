"""Watches for a benchmark's code that blocks the event loop, and with it every other rollout.

Rewards run on the loop, where they may await and call tools. Code that blocks there (`time.sleep(60)`, a long
computation) stops everything, so each step of such code is timed from another thread: after a second the call is
named, and when its own time is over an exception is raised in the loop's thread. A loop in pure Python ends there, a
call into C when it returns. The time that is lost is taken out of the loop's clock: no other attempt's limit pays.
"""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType

from ..background import BusySelector

#: Seconds after which a step that blocks is named.
NAMED_AFTER = 1.0

#: Steps longer than this are taken out of the clock, in seconds.
_NOTICEABLE = 0.05

#: The same of rounds of callbacks, of which many short ones are the harness's own work.
_NOTICEABLE_ROUND = 0.5

#: What messages call code that blocks the loop on nobody's known behalf: a callback, a task of its own.
_UNKNOWN = "a callback or a background task"

#: Seconds between two looks.
_EVERY = 0.1

#: Seconds between two exceptions for code that swallows them.
_AGAIN = 1.0

_PACKAGE = str(Path(__file__).parents[1])
#: Code that a step passes through besides the benchmark's own; benchmarks that come with the package are theirs.
_HARNESS = (_PACKAGE, str(Path(asyncio.__file__).parent))
_BENCHMARKS = f"{_PACKAGE}/benchmarks"


class Overrun(BaseException):
    """Raised in code that blocks the event loop beyond its time. Not an Exception, so that `except Exception` lets it
    pass."""


class LoopClock:
    """A loop's clock without the time that was lost. It replaces the loop's own `time`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        #: Seconds, in all.
        self.lost = 0.0
        self._time = loop.time
        loop.time = self.time  # type: ignore[method-assign]

    def time(self) -> float:
        return self._time() - self.lost


class Guard:
    """Times the steps of one call; a context manager around each of them. The tasks that the call starts share it."""

    def __init__(self, watchdog: Watchdog, what: str, seconds: float | None, longest_step: float | None) -> None:
        self.what = what
        self.seconds = seconds
        self.longest_step = longest_step
        #: The time limit that the call is under, which its own blocking counts towards.
        self.limit: asyncio.Timeout | None = None
        self.began = time.perf_counter()
        self.lost_before = watchdog.lost
        self.lost = 0.0
        self._watchdog = watchdog

    def __enter__(self) -> None:
        self._watchdog.enter(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watchdog.leave(self)

    @property
    def used(self) -> float:
        """Seconds of the call's own time until now, while it is in a step."""
        others = self._watchdog.lost - self.lost_before - self.lost
        return time.perf_counter() - self.began - others

    def is_over(self, step: float) -> bool:
        """Whether a call whose running step has taken `step` seconds has had its time."""
        if self.longest_step is not None and step > self.longest_step:
            return True
        return self.seconds is not None and self.used > self.seconds

    def charge(self, seconds: float) -> None:
        """Let time that is taken out of the loop's clock count for this call."""
        self.lost += seconds
        if self.limit is not None and not self.limit.expired() and (when := self.limit.when()) is not None:
            self.limit.reschedule(when - seconds)


class _Step:
    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.began = time.perf_counter()
        self.named = False
        #: When an exception was last raised in it.
        self.raised_at = -math.inf


class Watchdog:
    """One for each loop. `start` and the guards belong to the loop's thread, `blocked` and `interrupt` to any."""

    def __init__(self, tell: Callable[[str], object], *, on_lost: Callable[[], object] = lambda: None) -> None:
        """`tell` is called in the watching thread with a line that names a call which blocks; `on_lost`, on the loop,
        when the loop's clock has been set back."""
        self._tell = tell
        self._on_lost = on_lost
        self._steps: list[_Step] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._closed = False
        self._process = os.getpid()
        self._selector: BusySelector | None = None
        #: Seconds of this round of callbacks that are taken out of the clock already.
        self._of_round = 0.0
        #: The round of callbacks that was named, by when it began.
        self._named: float | None = None
        self._thread_id = 0
        self._clock: LoopClock | None = None

    def start(self, selector: BusySelector | None = None) -> None:
        """Watch the running loop; its selector tells of code that blocks it outside of all watched steps."""
        self._thread_id = threading.get_ident()
        self._clock = LoopClock(asyncio.get_running_loop())
        self._selector = selector
        if selector is not None:
            selector.on_round = self._end_round
        threading.Thread(target=self._watch, name="hermes-watchdog", daemon=True).start()

    def stop(self) -> None:
        self._over.set()

    @property
    def lost(self) -> float:
        """Seconds that were taken out of the loop's clock so far."""
        return self._clock.lost if self._clock is not None else 0.0

    def guard(self, what: str, seconds: float | None, longest_step: float | None = None) -> Guard:
        """Return what times the steps of a call, which messages call `what`.

        It has `seconds` in all, and one step of it `longest_step`; None is no limit.
        """
        return Guard(self, what, seconds, longest_step)

    def admit_no_more(self) -> None:
        """Let no further step begin: the loop has to come to what ends it, and the next one may block as well."""
        self._closed = True

    def enter(self, guard: Guard) -> None:
        """Begin a step. Raises Overrun when there are to be no more."""
        if self._closed:
            raise Overrun
        self._steps.append(_Step(guard))

    def leave(self, guard: Guard) -> None:
        """End the innermost step, if it is one of `guard`."""
        if os.getpid() != self._process:
            # The code has forked, and this is the child: it must not go on with everybody's rollouts.
            os._exit(1)
        try:
            self._leave(guard)
        except Overrun:  # it came just now: the time limit of the call says the same
            self._leave(guard)

    def forget(self, guard: Guard) -> None:
        """Let nothing more be raised on behalf of a call, which has ended."""
        with self._lock:
            self._steps[:] = [step for step in self._steps if step.guard is not guard]

    def _leave(self, guard: Guard) -> None:
        with self._lock:
            if not self._steps or self._steps[-1].guard is not guard:
                return
            step = self._steps.pop()
            if step.raised_at > 0:
                # What has not been raised yet must not be raised in other code.
                _raise_in(self._thread_id, None)
        blocked = time.perf_counter() - step.began
        # Of one within another, only the outer one counts.
        if blocked > _NOTICEABLE and not self._steps and self._clock is not None:
            self._clock.lost += blocked
            self._of_round += blocked
            guard.charge(blocked)
            self._on_lost()

    def _end_round(self, seconds: float) -> None:
        """Take out of the clock what blocked the loop in a round of callbacks beside watched steps."""
        unwatched, self._of_round = seconds - self._of_round, 0.0
        if unwatched > _NOTICEABLE_ROUND and self._clock is not None:
            self._clock.lost += unwatched
            self._on_lost()

    @property
    def blocked(self) -> str | None:
        """What has blocked the loop for a while, as messages call it; None when nothing does."""
        step = self._current()
        if step is not None:
            return step.guard.what if time.perf_counter() - step.began > NAMED_AFTER else None
        return _UNKNOWN if self._busy_since() is not None else None

    def _busy_since(self) -> float | None:
        """When the round of callbacks began that has blocked the loop for a while outside of watched steps."""
        since = self._selector.busy_since if self._selector is not None else None
        return since if since is not None and time.perf_counter() - since > NAMED_AFTER else None

    def interrupt(self) -> None:
        """Raise Overrun in the code that blocks the loop, if any does."""
        if (step := self._current()) is not None:
            self._interrupt(step)
        elif self._busy_since() is not None and not self._is_in_harness():
            _raise_in(self._thread_id, Overrun)

    def _current(self) -> _Step | None:
        try:
            return self._steps[-1]
        except IndexError:
            return None

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            step = self._current()
            if step is None:
                if (since := self._busy_since()) is not None and since != self._named:
                    self._named = since
                    self._tell(self._sentence(_UNKNOWN))
                continue
            if not step.named and time.perf_counter() - step.began > NAMED_AFTER:
                step.named = True
                self._tell(self._sentence(step.guard.what))
            if step.guard.is_over(time.perf_counter() - step.began):
                self._interrupt(step)

    def _sentence(self, what: str) -> str:
        where = _users_line(sys._current_frames().get(self._thread_id))
        return (
            f"{what} blocks the event loop{where}, and all rollouts with it; "
            "move the blocking code into `await asyncio.to_thread(…)`"
        )

    def _is_in_harness(self) -> bool:
        frame = sys._current_frames().get(self._thread_id)
        return frame is None or _is_harness(frame)

    def _interrupt(self, step: _Step) -> None:
        with self._lock:
            if self._current() is not step or time.perf_counter() - step.raised_at < _AGAIN:
                return
            # Not in this package's own code, which such a step passes through as well.
            if not self._is_in_harness():
                step.raised_at = time.perf_counter()
                _raise_in(self._thread_id, Overrun)


def _is_harness(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith(_HARNESS) and not file.startswith(_BENCHMARKS)


def _users_line(frame: FrameType | None) -> str:
    """Return ` at file:line` of the innermost frame of the call's own code."""
    while frame is not None and (_is_harness(frame) or frame.f_code.co_filename.startswith("<")):
        frame = frame.f_back
    return f" at {Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame is not None else ""


def _raise_in(thread_id: int, error: type[BaseException] | None) -> None:
    """Raise an exception in a thread when it next runs Python code; None: not any more.

    https://docs.python.org/3/c-api/init.html#c.PyThreadState_SetAsyncExc
    """
    value = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), value)

"""Calls of a benchmark's own code, each in a task of its own, so that what it does ends nothing but the call."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from ..core.one_line import described
from ..core.shielded import Shielded
from ..errors import FatalError, HermesError, InfrastructureError
from ..tools.bridge import Bridge, EscapedExit
from .watchdog import NAMED_AFTER, Guard, Overrun, Watchdog

log = logging.getLogger("pytest_hermes")

#: Seconds that a call may take to end once it is cancelled; then it is left behind.
_GRACE = 5.0

#: Characters of a traceback that are kept.
_TRACE = 20_000

_PACKAGE = str(Path(__file__).parents[1])


class UserCodeError(InfrastructureError):
    """A benchmark's own code raised: it would again. `cause` is what, `traceback` where, `function` names the call."""

    def __init__(self, function: str, cause: BaseException, *, kind: str) -> None:
        super().__init__(f"{function} raised {described(cause)}", kind=kind)
        self.function = function
        self.cause = cause
        self.traceback = _below_the_harness(cause)


class BenchmarkFault(InfrastructureError):
    """A benchmark's own code returned what cannot be used, or blocked the event loop: it would again."""


class UserCode:
    """Calls the code that a benchmark brings along, on behalf of one attempt."""

    def __init__(self, task_id: str, watchdog: Watchdog | None) -> None:
        self._task_id = task_id
        self._watchdog = watchdog
        #: What the attempt's calls share of context variables: one may set what a later one reads.
        self._context: contextvars.Context | None = None

    async def call(
        self,
        kind: str,
        function: Callable[..., Any],
        *arguments: Any,
        seconds: float | None,
        longest_step: float | None = None,
        name: str = "",
    ) -> Any:
        """Return what `function` returns, awaited if need be; sync calls of a ToolContext in it hold up nobody.

        `kind` is that of the errors: `setup`, `verifier` or `tool`. `seconds` is all the time it has; None: no limit.
        `longest_step` is how long it may block the event loop at a stretch, where `seconds` does not say.
        Raises HermesErrors of the code as they are, anything else (whatever its base) as UserCodeError, and
        InfrastructureError when the time is over.
        """
        name = name or getattr(function, "__name__", type(function).__name__)

        async def call() -> Any:
            value = function(*arguments)
            return await value if inspect.isawaitable(value) else value

        what = f"{name} of task {self._task_id!r}"
        guard = None if self._watchdog is None else self._watchdog.guard(what, seconds, longest_step)
        if self._context is None:
            self._context = contextvars.copy_context()
        work = asyncio.create_task(Bridge(call(), guard), name=name, context=self._context)
        try:
            async with asyncio.timeout(seconds) as limit:
                if guard is not None:
                    guard.limit = limit
                await asyncio.wait([work])
        except TimeoutError:
            await self._end(work)
            raise _late(name, kind, seconds, guard) from None
        except BaseException:
            await self._end(work)
            raise
        finally:
            if self._watchdog is not None and guard is not None:
                self._watchdog.forget(guard)
        error = _outcome(work)
        if error is None:
            return work.result()
        if isinstance(error, BaseExceptionGroup):
            error = _unwrapped(error)
        if isinstance(error, EscapedExit) and error.__cause__ is not None:
            error = error.__cause__
        if isinstance(error, Overrun):
            raise _late(name, kind, seconds, guard) from error
        if isinstance(error, HermesError):
            raise error
        raise UserCodeError(name, error, kind=kind) from error

    async def _end(self, work: asyncio.Task[Any]) -> None:
        """Cancel a call and wait for its end, though not for ever: the code may ignore its cancellation."""
        shielded = Shielded()
        work.cancel()
        if not await shielded.wait(work, _GRACE):
            log.warning("%s of task %r ignores its cancellation and is left running", work.get_name(), self._task_id)
        elif not work.cancelled():
            work.exception()  # looked at: asyncio would report an error that nobody has seen
        shielded.release()


def _outcome(work: asyncio.Task[Any]) -> BaseException | None:
    """Return what a call that has ended raised, None when it returned."""
    try:
        return work.exception()
    except asyncio.CancelledError as cancellation:
        return cancellation


def _unwrapped(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what a group of tasks raised: one exception means the same as without the group.

    Of several it is what ends the run, or else another one of this package's; without those, the group itself.
    """
    leaves = list(_leaves(group))
    ours = [error for error in leaves if isinstance(error, HermesError)]
    if len(leaves) == 1:
        return leaves[0]
    return min(ours, key=lambda error: not isinstance(error, FatalError), default=group)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _late(name: str, kind: str, seconds: float | None, guard: Guard | None) -> InfrastructureError:
    # Without a limit of its own it was interrupted: it blocked for too long, or the run ends.
    problem = f"{name} did not finish" + ("" if seconds is None else f" within {seconds:g} s")
    if guard is None or guard.lost <= NAMED_AFTER:
        return InfrastructureError(problem, kind=kind)
    return BenchmarkFault(
        f"{problem}; it blocked the event loop, and all rollouts with it, for {guard.lost:.1f} s: "
        "move the blocking code into `await asyncio.to_thread(…)`",
        kind=kind,
    )


def traceback_of(error: BaseException, trace: TracebackType | None = None) -> str:
    """Return an exception's traceback, or the part from `trace` on, as text. Never raises."""
    try:
        whole = traceback.TracebackException(type(error), error, trace or error.__traceback__)
        _point_at_no_columns(whole)
        text = "".join(whole.format())
        return text if len(text) <= _TRACE else f"{text[: _TRACE // 2]}\n…\n{text[-_TRACE // 2 :]}"
    except BaseException as problem:  # an exception's own code may be what is broken
        return f"{type(error).__name__} (its traceback cannot be shown: {type(problem).__name__})"


def _point_at_no_columns(found: traceback.TracebackException) -> None:
    """Leave the carets out: for them each line is parsed, and two threads that parse at once break CPython before
    3.11.8 and 3.12.2 (https://github.com/python/cpython/issues/106905)."""
    for frame in found.stack:
        frame.colno = frame.end_colno = None
    for other in (found.__cause__, found.__context__, *(getattr(found, "exceptions", None) or ())):
        if other is not None:
            _point_at_no_columns(other)


def _below_the_harness(error: BaseException) -> str:
    """Return the traceback from the first frame of the benchmark's own code on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return traceback_of(error, trace)


def _is_ours(file: str) -> bool:
    return file.startswith((f"{_PACKAGE}/rollout", f"{_PACKAGE}/tools"))

"""The one boundary around an attempt: whatever is raised inside becomes the attempt's end, and nothing else's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ..core.one_line import described, text_of
from ..core.open_files import is_exhaustion
from ..dataset.rows import DatasetError
from ..errors import FatalError, HermesError, InfrastructureError, SandboxLost, Status, Unsupported
from .budget import BudgetSpent
from .record import ErrorInfo
from .user_code import BenchmarkFault, UserCodeError, traceback_of

T = TypeVar("T")

#: The kind of error of an attempt that a run which ended left in flight; a run that is resumed runs it again.
INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Fault:
    """What a piece of work ended with instead of a result."""

    error: BaseException
    #: Whether it is the cancellation that the engine ordered.
    stopped: bool = False


async def contain(work: Awaitable[T], stopped: Callable[[], bool]) -> T | Fault:
    """Return the result of `work`, or the Fault that it ended with.

    `stopped` says whether the engine has cancelled the running task: only then a CancelledError is an order. Any other
    is somebody's mistake, as everything else that is raised.
    """
    try:
        return await work
    except BaseException as error:
        if isinstance(error, GeneratorExit) and asyncio._get_running_loop() is None:
            # This coroutine is being thrown away with its loop: it may not await anything any more.
            raise
        ordered = isinstance(error, asyncio.CancelledError) and stopped()
        if isinstance(error, asyncio.CancelledError) and not ordered and (task := asyncio.current_task()) is not None:
            task.uncancel()
        return Fault(error, ordered)


async def see_through(
    work: Awaitable[object],
    stopped: Callable[[], bool],
    *,
    ended: Callable[[Fault | None], object],
    close: Callable[[], Awaitable[object]],
) -> None:
    """Await `work`, and whatever happens `close`, then call `ended`, with the Fault that one of the two ended with."""
    fault: object = None
    try:
        fault = await contain(work, stopped)
        closing = await contain(close(), stopped)
        fault = fault if isinstance(fault, Fault) else closing
    finally:
        ended(fault if isinstance(fault, Fault) else None)


@dataclass(frozen=True)
class Meaning:
    """What an exception of a benchmark's code stands for, besides an error."""

    #: `skip`: the attempt is skipped. `fail`: of `compute_reward`, a reward of 0. `stop`: the run ends.
    what: Literal["skip", "fail", "stop"]
    message: str


#: Tells what an exception of a benchmark's code means to the door that runs it; None: it is an error.
Classify = Callable[[BaseException], Meaning | None]


def no_meaning(error: BaseException) -> Meaning | None:
    """The classifier of a door that knows no such exceptions."""
    return None


@dataclass(frozen=True)
class Ending:
    """How an attempt ended."""

    status: Status
    reward: float | None = None
    error: ErrorInfo | None = None
    #: Why it was skipped, or the message of what failed it.
    reason: str | None = None
    #: Whether the same attempt, started afresh, may come to an end.
    restartable: bool = False
    #: How often it is started afresh whatever the user allows.
    restarts: int = 0


@dataclass(frozen=True)
class RunEnded:
    """The whole run cannot go on, or its user ended it: there is nothing to record of the attempt."""

    kind: Literal["refused", "stopped"]
    message: str


def ending_of(error: BaseException, classify: Classify = no_meaning) -> Ending | RunEnded:
    """Return what an exception that came out of an attempt makes of it. Never raises."""
    match error:
        case Unsupported():
            return Ending("skipped", reason=text_of(error))
        case FatalError():
            return RunEnded("refused", text_of(error))
        case UserCodeError():
            return _ending_of_user_code(error, classify)
        case InfrastructureError():
            restartable = not isinstance(error, BudgetSpent | DatasetError | BenchmarkFault)
            restarts = int(isinstance(error, SandboxLost))
            return _error(str(error.kind), text_of(error), restartable=restartable, restarts=restarts)
        case HermesError():
            return _error("usage", text_of(error))
        case asyncio.CancelledError():
            text = "the attempt was cancelled by code that does not belong to it"
            return _error("internal", text, traceback_of(error))
    if is_exhaustion(error):
        return _error("sandbox", f"this machine has nothing left: {text_of(error)}", restartable=True)
    return _error("internal", described(error), traceback_of(error))


def _ending_of_user_code(error: UserCodeError, classify: Classify) -> Ending | RunEnded:
    meaning = classify(error.cause)
    if meaning is not None:
        if meaning.what == "skip":
            return Ending("skipped", reason=meaning.message)
        if meaning.what == "stop":
            return RunEnded("stopped", f"{error.function} ended the run: {meaning.message}")
        if error.kind == "verifier":
            return Ending("failed", reward=0.0, reason=meaning.message)
    return _error(error.kind, str(error), error.traceback)


def _error(kind: str, message: str, trace: str | None = None, **more: Any) -> Ending:
    return Ending("error", error=ErrorInfo(kind=kind, message=message, traceback=trace), **more)


def unrecordable(error: BaseException) -> Ending:
    """Return how an attempt ends whose record cannot be made or written."""
    return _error("internal", f"its record cannot be written: {described(error)}", traceback_of(error))


def interrupted(why: str) -> Ending:
    """Return how an attempt ends that was in flight when its run ended."""
    return _error(INTERRUPTED, why)

"""What a benchmark's own code raises or returns before any attempt runs, as one line that says where to look."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..core.awaiting import discard
from ..core.one_line import described, shown
from ..core.source import defined_at, user_line
from ..errors import UsageError


@contextmanager
def blaming(who: str, cls: type, method: str, item: int | None = None) -> Iterator[None]:
    """Let whatever a class's method raises be a UsageError of one line: class, method, line of the code, and what.

    `who` is what the line begins with; `item` is the number, from 1, of the item the method is called with. SystemExit
    and what pytest raises to skip are no exceptions here. What passes is a UsageError, which says by itself what to do,
    the cancellation by whoever runs this, and an interrupt on the main thread, which is the user's.
    """
    try:
        yield
    except UsageError:
        raise
    except BaseException as error:
        if is_stop(error):
            raise
        raise UsageError(f"{who}: {_blame(cls, method, error)}{_of(item)}") from error


def called(cls: type, method: str) -> str:
    """Return a method with the location of its definition: `Logs.tasks() (logs.py:9)`."""
    location = defined_at(getattr(cls, method, None))
    return f"{cls.__name__}.{method}(){f' ({location})' if location else ''}"


def wrong_return(who: str, cls: type, method: str, value: object, right: str, item: int | None = None) -> UsageError:
    """Return the error of a method that returned `value` instead of what `right` describes."""
    discard(value)
    return UsageError(f"{who}: {called(cls, method)} returned {shown(value)}{_of(item)}; it must return {right}")


def is_stop(error: BaseException) -> bool:
    """Return whether an exception ends what runs here on somebody else's behalf, rather than being raised by it."""
    if isinstance(error, KeyboardInterrupt):
        return threading.current_thread() is threading.main_thread()
    if isinstance(error, asyncio.CancelledError):
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop runs here
            return False
        return task is not None and task.cancelling() > 0
    return isinstance(error, GeneratorExit)


def _blame(cls: type, method: str, error: BaseException) -> str:
    line = user_line(error)
    # Without one, a call does not fit the method's parameters.
    where = f"{cls.__name__}.{method}() at {line}" if line else called(cls, method)
    return f"{where} raised {described(error)}"


def _of(item: int | None) -> str:
    return "" if item is None else f" for item {item}"

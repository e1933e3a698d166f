"""Work that takes its time, done once however many wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Results by key, each made once in a process. What failed may be tried again by who comes later."""

    def __init__(self, name: str) -> None:
        """`name` is that of the threads."""
        self._name = name
        self._lock = threading.Lock()
        self._work: dict[tuple[str, ...], Future[T]] = {}

    async def result(self, key: tuple[str, ...], make: Callable[[], T]) -> T:
        """Return what `make` returns, or returned for another with this key; it runs in a thread of its own.

        Raises what `make` raises, for all who wait. Cancelling one of them leaves the work to the others.
        """
        with self._lock:
            future = self._work.get(key)
            if future is None:
                future = self._work[key] = Future()
                future.set_running_or_notify_cancel()  # from now on it cannot be cancelled by one who waits
                threading.Thread(target=self._run, args=(key, future, make), name=self._name, daemon=True).start()
        return await asyncio.wrap_future(future)

    def forget(self, result: T) -> None:
        """Let whoever wants this result next have it made anew."""
        with self._lock:
            for key, future in list(self._work.items()):
                if future.done() and future.result() == result:
                    del self._work[key]

    def _run(self, key: tuple[str, ...], future: Future[T], make: Callable[[], T]) -> None:
        try:
            result = make()
        except BaseException as error:
            with self._lock:
                del self._work[key]
            future.set_exception(error)
        else:
            future.set_result(result)

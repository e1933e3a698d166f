"""Work that takes its time, done once however many wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
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
                threading.Thread(target=self._run, args=(key, future, make), name=self._name, daemon=True).start()
        return await asyncio.wrap_future(_follower(future))

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


def _follower(future: Future[T]) -> Future[T]:
    """Return a future that can be cancelled without cancelling the one it follows."""
    follower: Future[T] = Future()

    def pass_on(done: Future[T]) -> None:
        if not follower.set_running_or_notify_cancel():
            return
        if (error := done.exception()) is not None:
            follower.set_exception(error)
        else:
            follower.set_result(done.result())

    future.add_done_callback(pass_on)
    return follower

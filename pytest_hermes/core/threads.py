"""Threads for calls that block, in which somebody else's code may get stuck for good."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_Call = tuple["Future[Any]", Callable[[], Any]]


class DaemonThreads(ThreadPoolExecutor):
    """An executor whose threads hold up neither each other nor the end of the program.

    There is always a thread for a call: one that is idle, or a new one. `shutdown` waits for nobody: a thread that is
    stuck ends with the process, while those of a ThreadPoolExecutor are waited for at its exit. It is a subclass since
    event loops take no other executor by default.
    """

    def __init__(self, name: str) -> None:
        super().__init__(max_workers=1)  # which starts none before its own `submit`
        self._name = name
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._alive = 0
        self._over = False
        self._counting = threading.Lock()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call `fn` in a thread. Raises RuntimeError after `shutdown`."""
        future: Future[T] = Future()
        with self._counting:
            if self._over:
                raise RuntimeError("these threads are shut down")
            self._calls.put((future, lambda: fn(*args, **kwargs)))
            if not self._idle.acquire(blocking=False):
                self._alive += 1
                threading.Thread(target=self._live, name=f"{self._name}-{self._alive}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and let idle threads end; `wait` has no effect."""
        with self._counting:
            if not self._over:
                self._over = True
                for _ in range(self._alive):
                    self._calls.put(None)

    def _live(self) -> None:
        while (call := self._calls.get()) is not None:
            future, run = call
            if future.set_running_or_notify_cancel():
                try:
                    result = run()
                except BaseException as error:  # whatever it is, it belongs to who waits for the call
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del call, future, run  # or the last result would live as long as the thread is idle
            self._idle.release()

"""An event loop on a thread of its own, and ways to reach it from other threads and loops."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import concurrent.futures.thread  # see at_exit
import contextlib
import logging
import selectors
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, Protocol, TypeVar

from .core.threads import DaemonThreads

T = TypeVar("T")

_log = logging.getLogger("pytest_hermes")

#: How often, in seconds, a blocked thread looks whether the loop that should answer it still exists.
_PULSE = 1.0


class LoopRunner(Protocol):
    """An event loop of another thread."""

    @property
    def selector(self) -> BusySelector | None:
        """What the loop waits in, where that tells for how long it has been busy."""

    def submit(self, coro: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run `coro` on the loop. Cancelling the future cancels it."""

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run `coro` on the loop and block the calling thread, which must be another one, until it ends."""


class BorrowedLoop:
    """A loop that somebody else runs and ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.selector: BusySelector | None = None

    @property
    def alive(self) -> bool:
        return not self.loop.is_closed()

    def submit(self, coro: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        return asyncio.run_coroutine_threadsafe(coro, self.loop)

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        return run_blocking(self.loop, coro)


class BusySelector(selectors.DefaultSelector):
    """Knows for how long its loop has been running callbacks, instead of waiting here for what comes next."""

    def __init__(self) -> None:
        super().__init__()
        #: Since when, by `perf_counter`; None while it waits.
        self.busy_since: float | None = None
        #: Told, on the loop, how many seconds a round of callbacks took, before any timer is looked at.
        self.on_round: Callable[[float], object] = lambda seconds: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.busy_since is not None:
            self.on_round(time.perf_counter() - self.busy_since)
        self.busy_since = None
        ready = super().select(timeout)
        self.busy_since = time.perf_counter()
        return ready


class BackgroundLoop:
    """A daemon thread that owns one asyncio loop; it starts at first use.

    `close` ends it for good. All methods may be called from any thread.
    """

    def __init__(self, name: str = "hermes-loop") -> None:
        self._name = name
        #: Tells for how long the loop has been busy.
        self.selector: BusySelector | None = BusySelector()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; started if need be. Raises RuntimeError once closed."""
        return self.start()

    @property
    def alive(self) -> bool:
        """Whether its thread runs, or has not been needed so far."""
        return self._thread is None or self._thread.is_alive()

    def start(self) -> asyncio.AbstractEventLoop:
        """Start the thread unless it runs already, and return its loop. Raises RuntimeError once closed."""
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the background loop {self._name!r} is closed")
            if self._loop is None:
                ready: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
                self._thread = threading.Thread(target=self._live, args=(ready,), name=self._name, daemon=True)
                self._thread.start()
                self._loop = ready.result()
            return self._loop

    def submit(self, coro: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run `coro` on the loop. Cancelling the future cancels it. Raises RuntimeError once closed."""
        try:
            loop = self.start()
            return asyncio.run_coroutine_threadsafe(coro, loop)
        except BaseException:
            coro.close()
            raise

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run `coro` on the loop and block the calling thread until it ends.

        A signal handler that raises (Ctrl-C) cancels it. Must not be called on the loop's own thread.
        """
        try:
            loop = self.start()
        except BaseException:
            coro.close()
            raise
        return run_blocking(loop, coro)

    def close(self, timeout: float = 10.0) -> bool:
        """Cancel everything on the loop, wait for it, and end the thread. May be called twice.

        Returns False when the thread still runs after `timeout` seconds: a task ignores its cancellation.
        """
        if self._thread is threading.current_thread():
            raise RuntimeError(f"the background loop {self._name!r} cannot be closed from its own thread")
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return True
        with contextlib.suppress(RuntimeError):  # it has ended already
            loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout)
        return not thread.is_alive()

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(self.selector)

    def _live(self, ready: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
        # The runner then shuts down async generators and the executor, and closes the loop.
        with asyncio.Runner(loop_factory=self._new_loop) as runner:
            loop = runner.get_loop()
            asyncio.set_event_loop(loop)
            loop.set_default_executor(DaemonThreads(f"{self._name}-thread"))
            loop.call_soon(ready.set_result, loop)
            # Not in a task, which code on the loop could cancel: only `close` ends it.
            while not self._closed:
                with _outlived():
                    loop.run_forever()
            with _outlived():
                loop.run_until_complete(_cancel_all_others())


@contextlib.contextmanager
def _outlived() -> Iterator[None]:
    """Pass over what would end a loop. Signals reach the main thread only, so here a task or a callback has raised it:
    who waits for the task is told, and nobody else is to pay for it."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as error:
        _log.info("code on the event loop raised %s; the loop continues", type(error).__name__)


async def _cancel_all_others() -> None:
    # Again and again: cleaning up may start new tasks, and other threads may still be handing some in.
    this = {asyncio.current_task()}
    while others := asyncio.all_tasks() - this:
        for task in others:
            task.cancel()
        await asyncio.wait(others)


def run_blocking(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T]) -> T:
    """Run `coro` on `loop`, which runs on another thread, and block until it ends; a signal can interrupt.

    Raises RuntimeError when the loop does not run, or closes before there is an answer.
    """
    if not loop.is_running():
        coro.close()
        raise RuntimeError(
            f"{_name(coro)} belongs to an event loop that is not running; "
            "call it while the loop runs, from another thread or from within a bridge"
        )
    errand = _Errand(coro, loop)
    try:
        errand.send()
        while not concurrent.futures.wait([errand.ended], _PULSE).done:
            errand.check()
    except BaseException:
        errand.cancel()
        raise
    return errand.result()


async def on_loop(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T]) -> T:
    """Await `coro` on `loop`, whichever loop is running.

    Cancellation is passed on and waited for, so nothing of `coro` still runs when this returns. Raises
    RuntimeError when `loop` is closed.
    """
    if asyncio.get_running_loop() is loop:
        return await coro
    errand = _Errand(coro, loop)
    errand.send()
    ended = asyncio.wrap_future(errand.ended)
    cancellation: asyncio.CancelledError | None = None
    while not ended.done():
        try:
            # asyncio.wait leaves what it waits for alone when it is cancelled itself.
            await asyncio.wait([ended], timeout=_PULSE)
        except asyncio.CancelledError as error:
            cancellation = error
            errand.cancel()
        if not ended.done():
            errand.check()
    try:
        result = errand.result()
    except asyncio.CancelledError:
        raise cancellation or asyncio.CancelledError() from None
    if cancellation is not None:  # it ended just before the cancellation reached it
        raise cancellation
    return result


class _Errand(Generic[T]):
    """A coroutine that runs on a loop of another thread.

    Unlike with `run_coroutine_threadsafe`, its future is not done before the coroutine has ended, also when it is
    cancelled, and a signal that interrupts the sender loses nothing.
    """

    def __init__(self, coro: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self._coro = coro
        self._loop = loop
        self._task: asyncio.Task[T] | None = None
        #: Done when the coroutine has ended, however it did.
        self.ended: concurrent.futures.Future[asyncio.Task[T]] = concurrent.futures.Future()

    def send(self) -> None:
        """Let it begin. Raises RuntimeError when the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(self._begin)
        except RuntimeError:
            self._coro.close()
            raise

    def cancel(self) -> None:
        """Cancel it; `ended` tells when it has."""
        with contextlib.suppress(RuntimeError):  # the loop has closed, and nothing runs any more
            self._loop.call_soon_threadsafe(self._cancel)

    def check(self) -> None:
        """Raise RuntimeError if it will never end."""
        if self._loop.is_closed() and not self.ended.done():
            raise RuntimeError(f"the event loop closed before {_name(self._coro)} had ended")

    def result(self) -> T:
        """Return what it returned, or raise what it raised."""
        return self.ended.result().result()

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._coro)
        self._task.add_done_callback(self._finish)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:  # sending it was interrupted
            self._coro.close()

    def _finish(self, task: asyncio.Task[T]) -> None:
        _ = task.cancelled() or task.exception()  # who sent it may have gone, which is no reason to complain
        self.ended.set_result(task)


def _name(coro: Coroutine[Any, Any, Any]) -> str:
    return getattr(coro, "__qualname__", type(coro).__qualname__)


_default: BackgroundLoop | None = None
_default_lock = threading.Lock()


def default_loop() -> BackgroundLoop:
    """Return the process-wide loop for what is built by hand, outside of an engine; closed at exit."""
    global _default
    with _default_lock:
        if _default is None:
            _default = BackgroundLoop("hermes-default")
            at_exit(_default.close)
        return _default


def at_exit(function: Callable[[], object]) -> None:
    """Call `function` when the program ends, while executors and new threads can still be used.

    What was registered last is called first. atexit comes too late: by then executors take no more work, and asyncio
    needs them to clean up. concurrent.futures ends them in the same way, when its module for threads was imported
    before; hence that import above.
    """
    register = getattr(threading, "_register_atexit", atexit.register)
    register(function)

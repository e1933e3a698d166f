"""Sync calls inside async code: it runs in a greenlet, which a sync call leaves until it has its answer.

Reward functions are `async def` and call `ctx.terminal(…)` without `await`. Below `bridged`, such a call
switches to the greenlet that drives the coroutine; that one awaits in its stead, so the event loop and all other
rewards go on. Context variables, cancellation, time-outs and `asyncio.current_task()` are those of the one task
that all of it runs in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar, cast

from greenlet import getcurrent, greenlet

from ..background import on_loop, run_blocking

T = TypeVar("T")


def bridged(coro: Coroutine[Any, Any, T]) -> Bridge[T]:
    """Return a coroutine that does what `coro` does, and below which `wait_for_sync` does not block.

    Tasks that it creates (`asyncio.gather`, `create_task`) are bridged only on a loop with `install_bridge`.
    """
    return Bridge(coro)


def wait_for_sync(coro: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Return the result of `coro`, which belongs to `loop`, to code that cannot await.

    Inside of a bridge the running loop goes on with other tasks meanwhile. On any other thread this blocks
    the thread, and a signal can interrupt it. Raises RuntimeError where it would have to block the very loop
    that must answer.
    """
    bridge = _active_bridge()
    if bridge is not None:
        return bridge.wait(on_loop(loop, coro))
    if asyncio._get_running_loop() is loop:
        coro.close()
        raise RuntimeError(
            "a sync call such as ctx.terminal() would block the event loop that has to answer it, because it "
            "was made outside of a bridge: run the coroutine that makes it as `await bridged(coroutine)` "
            "(pytest_hermes.tools.bridge); if asyncio.gather or create_task started it, call "
            "`install_bridge(loop)` once on that loop; or move the call into `await asyncio.to_thread(…)`"
        )
    return run_blocking(loop, coro)


def install_bridge(loop: asyncio.AbstractEventLoop) -> None:
    """Bridge each task on `loop` that is created below a bridge. A task factory already there is kept."""
    inner = loop.get_task_factory()
    if isinstance(inner, _BridgingTaskFactory):
        return
    # typeshed describes factories of one version only; the keywords differ between 3.11 and 3.14.
    loop.set_task_factory(cast(Any, _BridgingTaskFactory(cast(Any, inner))))


class _BridgingTaskFactory:
    def __init__(self, inner: Callable[..., asyncio.Future[Any]] | None) -> None:
        self._inner = inner

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **keywords: Any
    ) -> asyncio.Future[Any]:
        if not isinstance(coro, Bridge) and (active := _active_bridge()) is not None:
            coro = Bridge(coro, active.guard)
        if self._inner is not None:
            return self._inner(loop, coro, **keywords)
        return asyncio.Task(coro, loop=loop, **keywords)


class EscapedExit(Exception):
    """SystemExit or KeyboardInterrupt (its cause) out of bridged code: as they are, they would end the event loop."""


class Bridge(Coroutine[Any, Any, T]):
    """Drives one coroutine in a greenlet. Made by `bridged`; await it once, or make a task of it.

    Each step of a task that is made of it happens within `guard`, if there is one, and so do those of all tasks that
    the coroutine creates on a loop with `install_bridge`. Raises EscapedExit there for what would end the loop.

    It is a class and not an `async def` so that closing or cancelling it before its first step reaches the
    coroutine inside, which would otherwise be reported as never awaited.
    """

    def __init__(self, coro: Coroutine[Any, Any, T], guard: AbstractContextManager[None] | None = None) -> None:
        self._coro = coro
        self._guard = guard
        self._steps: Generator[Any, Any, T] | None = None
        self.__name__ = getattr(coro, "__name__", type(coro).__name__)
        self.__qualname__ = getattr(coro, "__qualname__", type(coro).__qualname__)

    def send(self, value: Any) -> Any:
        if self._steps is None:
            self._steps = self._drive()
        return self._take_step(self._steps.send, value)

    def throw(
        self,
        typ: Any,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Any:
        error = typ if isinstance(typ, BaseException) else val if isinstance(val, BaseException) else typ()
        if tb is not None:
            error = error.with_traceback(tb)
        return self._take_step((self._steps or self._coro).throw, error)

    def _take_step(self, step: Callable[[Any], Any], argument: Any) -> Any:
        if self._guard is None:
            return step(argument)
        try:
            with self._guard:
                return step(argument)
        except (SystemExit, KeyboardInterrupt) as error:
            raise EscapedExit(type(error).__name__) from error

    def close(self) -> None:
        if self._steps is not None:
            self._steps.close()
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, T]:
        if self._steps is not None:
            raise RuntimeError("cannot reuse already awaited coroutine")
        try:
            self._steps = self._drive()
            return (yield from self._steps)
        finally:
            self.close()

    # What asyncio looks at to name and locate a coroutine in a task's repr and stack.
    @property
    def cr_code(self) -> Any:
        return getattr(self._coro, "cr_code", None)

    @property
    def cr_frame(self) -> Any:
        return getattr(self._coro, "cr_frame", None)

    @property
    def cr_running(self) -> bool:
        return bool(getattr(self._coro, "cr_running", False))

    def _drive(self) -> Generator[Any, Any, T]:
        around = _active_bridge()
        child = _BridgeGreenlet(_run)
        child.task = asyncio.current_task()
        child.guard = self._guard or (around.guard if around is not None else None)
        # Greenlets start with an empty context; sharing ours lets the caller see what the coroutine sets.
        child.gr_context = getcurrent().gr_context
        yielded = child.switch(self._coro)
        while not isinstance(yielded, _Ended):
            back: greenlet = child
            try:
                if isinstance(yielded, _SyncCall):
                    back = yielded.caller
                    answer = yield from yielded.awaitable.__await__()
                else:
                    answer = yield yielded
            except BaseException as error:
                child.parent = getcurrent()
                yielded = back.throw(error)
            else:
                # An eagerly started task takes its first step below its creator, the others below the loop.
                child.parent = getcurrent()
                yielded = back.switch(answer)
        return cast(T, yielded.result)


class _BridgeGreenlet(greenlet):
    #: The task whose steps it takes part in.
    task: asyncio.Task[Any] | None = None
    #: Of the bridge that it drives for.
    guard: AbstractContextManager[None] | None = None

    def wait(self, coro: Coroutine[Any, Any, T]) -> T:
        """Leave the running greenlet, this one or one below it, until the driver has awaited `coro`."""
        driver = self.parent
        assert driver is not None
        return cast(T, driver.switch(_SyncCall(coro, getcurrent())))


@dataclass(frozen=True)
class _SyncCall:
    awaitable: Awaitable[Any]
    caller: greenlet


@dataclass(frozen=True)
class _Ended:
    result: Any


def _run(coro: Coroutine[Any, Any, Any]) -> _Ended:
    """Step `coro` in the current greenlet; what it awaits for itself is handed to the driver."""
    here = getcurrent()
    step: Callable[[Any], Any] = coro.send
    argument: Any = None
    while True:
        try:
            yielded = step(argument)
        except StopIteration as stop:
            return _Ended(stop.value)
        driver = here.parent
        assert driver is not None
        try:
            argument = driver.switch(yielded)
            step = coro.send
        except BaseException as error:
            argument = error
            step = coro.throw


def _active_bridge() -> _BridgeGreenlet | None:
    """Return the innermost bridge that the running code is below of, in the current task."""
    if asyncio._get_running_loop() is None:
        return None
    task = asyncio.current_task()
    here: greenlet | None = getcurrent()
    while here is not None:
        if isinstance(here, _BridgeGreenlet) and here.task is task:
            return here
        here = here.parent
    return None

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

import pytest
from greenlet import getcurrent, greenlet  # type: ignore[import-untyped,unused-ignore]

from pytest_hermes.background import BackgroundLoop
from pytest_hermes.tools.bridge import bridged, install_bridge, wait_for_sync

pytestmark = pytest.mark.filterwarnings("error")

T = TypeVar("T")


def sync(coro: Coroutine[Any, Any, T]) -> T:
    """A sync call as a reward function makes it: home is the loop the test runs on."""
    return wait_for_sync(coro, asyncio.get_running_loop())


async def value(of: T, delay: float = 0) -> T:
    await asyncio.sleep(delay)
    return of


async def fail(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


@pytest.fixture
def background() -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop()
    yield loop
    assert loop.close()


@pytest.mark.asyncio
class TestInsideOfABridge:
    async def test_a_sync_call_returns_the_result(self) -> None:
        async def reward() -> int:
            return sync(value(1)) + sync(value(2, 0.001))

        assert await bridged(reward()) == 3

    async def test_sync_calls_and_awaits_mix_at_any_depth(self) -> None:
        def verify(n: int) -> int:
            return sync(value(n))

        async def judge(n: int) -> int:
            return await value(n, 0.001) + verify(1)

        async def numbers() -> AsyncIterator[int]:
            for n in range(3):
                yield verify(n)
                await asyncio.sleep(0)

        async def reward() -> list[int]:
            total = [verify(10), await judge(20)]
            total += [n async for n in numbers()]
            return sorted(total, key=lambda n: -verify(n))

        assert await bridged(reward()) == [21, 10, 2, 1, 0]

    async def test_errors_of_the_call_are_raised_where_it_was_made(self) -> None:
        async def reward() -> str:
            try:
                sync(fail(LookupError("lost")))
            except LookupError as error:
                return f"caught {error}, then {await value('awaited')}, then {sync(value('called'))}"
            return "nothing was raised"

        assert await bridged(reward()) == "caught lost, then awaited, then called"

    async def test_errors_of_the_coroutine_reach_its_caller(self) -> None:
        async def reward() -> None:
            sync(value(1))
            raise LookupError("lost")

        with pytest.raises(LookupError, match="lost"):
            await bridged(reward())

    async def test_awaits_that_fail_are_raised_in_the_coroutine(self) -> None:
        async def reward() -> str:
            with pytest.raises(LookupError):
                await fail(LookupError())
            return sync(value("went on"))

        assert await bridged(reward()) == "went on"

    async def test_it_is_one_task(self) -> None:
        async def current() -> object:
            return asyncio.current_task()

        async def reward() -> list[object]:
            return [asyncio.current_task(), sync(current()), asyncio.current_task(), await current()]

        assert await bridged(reward()) == [asyncio.current_task()] * 4

    async def test_context_variables_are_shared_in_both_directions(self) -> None:
        colour: ContextVar[str] = ContextVar("colour")

        async def paint(name: str) -> str:
            before = colour.get()
            colour.set(name)
            return before

        async def reward() -> list[str]:
            seen = [colour.get(), sync(paint("blue")), colour.get()]
            colour.set("red")
            return seen

        colour.set("green")
        assert await bridged(reward()) == ["green", "green", "blue"]
        assert colour.get() == "red"

    async def test_the_exception_being_handled_stays_the_coroutines_own(self) -> None:
        async def look() -> object:
            return sys.exc_info()[1]

        async def reward() -> tuple[object, object]:
            try:
                raise LookupError("lost")
            except LookupError:
                return sync(look()), sys.exc_info()[1]

        seen, own = await bridged(reward())
        assert seen is None
        assert isinstance(own, LookupError)

    async def test_all_calls_wait_at_the_same_time(self) -> None:
        everybody = asyncio.Barrier(50)

        async def meet() -> int:
            return await everybody.wait()

        async def reward() -> int:
            return sync(meet())

        async with asyncio.timeout(10):
            met = await asyncio.gather(*(bridged(reward()) for _ in range(50)))
        assert sorted(met) == list(range(50))

    async def test_bridges_nest(self) -> None:
        async def inner() -> int:
            return sync(value(1)) + await value(2)

        async def outer() -> int:
            return sync(value(10)) + await bridged(inner()) + sync(bridged(inner())) + await inner()

        assert await bridged(outer()) == 19

    async def test_a_call_for_another_loop_does_not_stop_this_one(self, background: BackgroundLoop) -> None:
        go = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def there() -> asyncio.AbstractEventLoop:
            loop.call_soon_threadsafe(go.set)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(go.wait(), loop))
            return asyncio.get_running_loop()

        async def reward() -> asyncio.AbstractEventLoop:
            return wait_for_sync(there(), background.loop)

        assert await bridged(reward()) is background.loop

    async def test_code_in_a_greenlet_of_its_own_may_call_too(self) -> None:
        # SQLAlchemy's run_sync and others start greenlets below the coroutine.
        def verify(outside: greenlet) -> list[int]:
            return [sync(value(1)), outside.switch("between"), sync(value(3))]

        async def reward() -> list[int]:
            side = greenlet(verify)
            assert side.switch(getcurrent()) == "between"
            await asyncio.sleep(0)
            numbers: list[int] = side.switch(2)
            return numbers

        assert await bridged(reward()) == [1, 2, 3]


@pytest.mark.asyncio
class TestCancellation:
    async def test_reaches_a_sync_call_and_what_it_waits_for(self) -> None:
        seen: list[str] = []
        begun = asyncio.Event()

        async def wait_for_ever() -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                seen.append("the call was cancelled")

        async def reward() -> None:
            try:
                sync(wait_for_ever())
            except asyncio.CancelledError:
                seen.append(sync(value("cleaned up")))
                raise

        task = asyncio.create_task(bridged(reward()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["the call was cancelled", "cleaned up"]

    async def test_reaches_an_await(self) -> None:
        async def reward() -> None:
            sync(value(1))
            await asyncio.Event().wait()

        task = asyncio.create_task(bridged(reward()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_before_the_first_step_leaves_nothing_behind(self) -> None:
        async def reward() -> None:
            raise AssertionError("never runs")

        task = asyncio.create_task(bridged(reward()))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        gc.collect()  # a coroutine that was never awaited would warn, and warnings are errors

    async def test_a_timeout_inside_ends_a_sync_call(self) -> None:
        async def reward() -> str:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):  # noqa: ASYNC100
                    sync(asyncio.sleep(60))
            return sync(value("went on"))

        assert await bridged(reward()) == "went on"

    async def test_a_timeout_outside_ends_a_sync_call(self) -> None:
        async def reward() -> None:
            sync(asyncio.sleep(60))

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bridged(reward()), 0.01)

    async def test_wait_for_around_a_helper_inside(self) -> None:
        install_bridge(asyncio.get_running_loop())

        async def helper() -> None:
            sync(asyncio.sleep(60))

        async def reward() -> str:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(helper(), 0.01)
            return "went on"

        assert await bridged(reward()) == "went on"

    async def test_closing_runs_the_finally_blocks(self) -> None:
        seen: list[str] = []

        async def reward() -> None:
            try:
                sync(asyncio.sleep(60))
            finally:
                seen.append("closed")

        bridge = bridged(reward())
        bridge.send(None)
        bridge.close()
        assert seen == ["closed"]

    async def test_closing_one_that_never_began_is_silent(self) -> None:
        bridged(value(1)).close()
        gc.collect()


@pytest.mark.asyncio
class TestTasksFromWithinABridge:
    async def test_are_bridged_too(self) -> None:
        install_bridge(asyncio.get_running_loop())
        everybody = asyncio.Barrier(4)

        async def meet() -> None:
            await everybody.wait()

        async def part(n: int) -> int:
            sync(meet())
            return n

        async def grandparent() -> list[int]:
            async with asyncio.TaskGroup() as group:
                third = group.create_task(part(3))
                fourth = asyncio.create_task(part(4), name="fourth")
                parts = await asyncio.gather(part(1), part(2))
            assert fourth.get_name() == "fourth"
            return [*parts, third.result(), await fourth]

        async def reward() -> list[int]:
            return await asyncio.create_task(grandparent())

        async with asyncio.timeout(10):
            assert await bridged(reward()) == [1, 2, 3, 4]

    async def test_are_told_what_to_do_on_a_loop_without_the_factory(self) -> None:
        async def part() -> int:
            return sync(value(1))

        async def reward() -> None:
            await asyncio.gather(part(), part())

        with pytest.raises(RuntimeError, match=r"install_bridge\(loop\)"):
            await bridged(reward())

    async def test_others_are_left_alone(self) -> None:
        install_bridge(asyncio.get_running_loop())
        plain = value(1)
        task = asyncio.create_task(plain)
        assert task.get_coro() is plain
        assert await task == 1

    async def test_keep_their_name_and_location_in_a_repr(self) -> None:
        install_bridge(asyncio.get_running_loop())

        async def checks_the_files() -> None:
            sync(asyncio.sleep(0.01))

        async def reward() -> str:
            task = asyncio.create_task(checks_the_files())
            await asyncio.sleep(0)
            text = repr(task)
            await task
            return text

        assert "checks_the_files() running at" in await bridged(reward())

    async def test_a_factory_already_there_stays_in_use(self) -> None:
        loop = asyncio.get_running_loop()
        made: list[asyncio.Task[Any]] = []

        class OwnTask(asyncio.Task[T]):
            pass

        def factory(loop: asyncio.AbstractEventLoop, coro: Any, **keywords: Any) -> asyncio.Task[Any]:
            task = OwnTask(coro, loop=loop, **keywords)
            made.append(task)
            return task

        loop.set_task_factory(factory)
        install_bridge(loop)
        installed = loop.get_task_factory()
        install_bridge(loop)
        assert loop.get_task_factory() is installed

        async def reward() -> int:
            return await asyncio.create_task(value(1)) + sync(value(2))

        assert await asyncio.create_task(bridged(reward())) == 3
        assert len(made) == 2

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
    @pytest.mark.parametrize("delay", [0.0, 0.05])
    async def test_eager_tasks_run_beside_the_one_that_made_them(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        install_bridge(loop)

        async def part() -> int:
            total = sync(value(1, 0.001)) + await value(2, 0.001)
            with pytest.raises(LookupError):
                sync(fail(LookupError()))
            return total + sync(value(3))

        async def reward() -> asyncio.Task[int]:
            task = asyncio.create_task(part())
            sync(asyncio.sleep(delay))
            return task

        task = await bridged(reward())
        assert await task == 6

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
    async def test_an_eager_task_whose_first_call_fails(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        install_bridge(loop)

        async def part() -> str:
            try:
                sync(fail(LookupError()))
            except LookupError:
                return sync(value("caught"))
            return "nothing was raised"

        async def reward() -> str:
            task = asyncio.create_task(part())
            sync(asyncio.sleep(0.01))
            return await task

        assert await bridged(reward()) == "caught"

    async def test_a_task_that_outlives_its_bridge_goes_on(self) -> None:
        install_bridge(asyncio.get_running_loop())

        async def part() -> int:
            return sync(value(1, 0.001)) + sync(value(2))

        async def reward() -> asyncio.Task[int]:
            return asyncio.create_task(part())

        assert await (await bridged(reward())) == 3


class TestOutsideOfABridge:
    @pytest.mark.asyncio
    async def test_on_the_home_loop_it_refuses_and_names_the_fix(self) -> None:
        with pytest.raises(RuntimeError, match=r"await bridged\(coroutine\)"):
            sync(value(1))
        gc.collect()

    @pytest.mark.asyncio
    async def test_a_callback_of_the_home_loop_is_refused_even_below_a_bridge(self) -> None:
        async def reward() -> BaseException | None:
            loop = asyncio.get_running_loop()
            outcome: asyncio.Future[None] = loop.create_future()

            def callback() -> None:
                try:
                    wait_for_sync(value(1), loop)
                except RuntimeError as error:
                    outcome.set_exception(error)

            loop.call_soon(callback)
            await asyncio.wait([outcome])
            return outcome.exception()

        assert isinstance(await bridged(reward()), RuntimeError)

    @pytest.mark.asyncio
    async def test_a_greenlet_that_another_task_resumes_is_refused(self) -> None:
        def verify() -> None:
            parent = getcurrent().parent
            assert parent is not None
            parent.switch()
            sync(value(1))

        async def reward() -> greenlet:
            side = greenlet(verify)
            side.switch()
            await asyncio.sleep(0)
            return side

        bridge = bridged(reward())
        bridge.send(None)
        with pytest.raises(StopIteration) as ended:
            bridge.send(None)
        side = ended.value.value

        async def resume() -> None:
            side.switch()

        with pytest.raises(RuntimeError, match="outside of a bridge"):
            await asyncio.create_task(resume())

    def test_a_sync_caller_blocks_until_the_answer(self, background: BackgroundLoop) -> None:
        assert wait_for_sync(value(1, 0.001), background.loop) == 1

    @pytest.mark.asyncio
    async def test_a_thread_of_the_home_loop_may_call(self) -> None:
        loop = asyncio.get_running_loop()

        def verify() -> tuple[int, bool]:
            return wait_for_sync(value(1), loop), threading.current_thread() is threading.main_thread()

        async def reward() -> tuple[int, bool]:
            return await asyncio.to_thread(verify)

        assert await bridged(reward()) == (1, False)

    @pytest.mark.asyncio
    async def test_another_loop_may_call(self, background: BackgroundLoop) -> None:
        assert wait_for_sync(value(1, 0.001), background.loop) == 1

    def test_asyncio_run_takes_a_bridge(self) -> None:
        async def reward() -> int:
            return sync(value(1)) + 1

        assert asyncio.run(bridged(reward())) == 2

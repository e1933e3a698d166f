from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar

import pytest

from pytest_hermes.background import BackgroundLoop, default_loop, on_loop, run_blocking


@pytest.fixture
def background() -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop()
    yield loop
    assert loop.close()


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


class TestBackgroundLoop:
    def test_starts_no_thread_before_it_is_used(self) -> None:
        before = threading.active_count()
        loop = BackgroundLoop()
        assert threading.active_count() == before
        assert loop.close()

    def test_runs_coroutines_on_its_own_loop(self, background: BackgroundLoop) -> None:
        assert background.run(running_loop()) is background.loop
        assert background.submit(running_loop()).result(5) is background.loop

    def test_threads_that_start_it_at_once_get_one_loop(self, background: BackgroundLoop) -> None:
        loops: list[asyncio.AbstractEventLoop] = []
        together = threading.Barrier(8)

        def use() -> None:
            together.wait()
            loops.append(background.loop)

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(loops) == 8
        assert len(set(loops)) == 1

    def test_errors_come_back_to_the_caller(self, background: BackgroundLoop) -> None:
        async def fail() -> None:
            raise LookupError("lost")

        with pytest.raises(LookupError, match="lost"):
            background.run(fail())

    def test_cancelling_the_future_cancels_the_coroutine(self, background: BackgroundLoop) -> None:
        begun, ended = threading.Event(), threading.Event()

        async def wait_for_ever() -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                ended.set()

        future = background.submit(wait_for_ever())
        assert begun.wait(5)
        future.cancel()
        assert ended.wait(5)

    def test_close_cancels_tasks_and_what_their_clean_up_starts(self) -> None:
        background = BackgroundLoop()
        seen: list[int] = []
        kept: set[asyncio.Task[None]] = set()
        begun = threading.Event()

        async def work(generation: int) -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.001)
                seen.append(generation)
                if generation < 5:
                    kept.add(asyncio.create_task(work(generation + 1)))
                    await asyncio.sleep(0)

        background.submit(work(1))
        assert begun.wait(5)
        assert background.close()
        assert seen == [1, 2, 3, 4, 5]

    def test_close_finishes_async_generators(self) -> None:
        background = BackgroundLoop()
        seen: list[str] = []

        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                await asyncio.sleep(0)
                seen.append("finished")

        kept = numbers()

        async def first() -> int:
            return await anext(kept)

        assert background.run(first()) == 1
        assert background.close()
        assert seen == ["finished"]

    def test_closed_means_closed(self) -> None:
        background = BackgroundLoop()
        background.start()
        assert background.close()
        assert background.close()
        for use in (background.run, background.submit):
            with pytest.raises(RuntimeError, match="is closed"):
                use(running_loop())

    def test_close_says_when_a_task_does_not_end(self) -> None:
        background = BackgroundLoop()
        hold, begun = threading.Event(), threading.Event()

        async def block() -> None:
            begun.set()
            hold.wait()

        background.submit(block())
        assert begun.wait(5)
        assert background.close(timeout=0.05) is False
        hold.set()
        assert background.close()

    def test_a_signal_interrupts_a_blocked_caller_and_cancels_its_coroutine(self, background: BackgroundLoop) -> None:
        ended = threading.Event()

        async def interrupt_then_wait() -> None:
            try:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                await asyncio.Event().wait()
            finally:
                ended.set()

        with pytest.raises(KeyboardInterrupt):
            background.run(interrupt_then_wait())
        assert ended.wait(5)


class TestRunBlocking:
    def test_refuses_a_loop_that_does_not_run(self) -> None:
        loop = asyncio.new_event_loop()
        try:
            with pytest.raises(RuntimeError, match="running_loop belongs to an event loop that is not running"):
                run_blocking(loop, running_loop())
        finally:
            loop.close()

    def test_ends_when_the_loop_dies_before_it_answers(self) -> None:
        loop = asyncio.new_event_loop()
        begun = threading.Event()

        async def stop_here() -> None:
            begun.set()
            loop.stop()
            await asyncio.Event().wait()

        def live() -> None:
            loop.run_forever()
            for task in asyncio.all_tasks(loop):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            loop.close()

        thread = threading.Thread(target=live)
        thread.start()
        while not loop.is_running():
            pass
        with pytest.raises(RuntimeError, match=r"loop closed before .*stop_here had ended"):
            run_blocking(loop, stop_here())
        thread.join()


@pytest.mark.asyncio
class TestOnLoop:
    async def test_same_loop_is_a_plain_await(self) -> None:
        task = asyncio.current_task()

        async def current() -> object:
            return asyncio.current_task()

        assert await on_loop(asyncio.get_running_loop(), current()) is task

    async def test_another_loop_answers(self, background: BackgroundLoop) -> None:
        assert await on_loop(background.loop, running_loop()) is background.loop

    async def test_context_variables_travel_along(self, background: BackgroundLoop) -> None:
        colour: ContextVar[str] = ContextVar("colour")
        colour.set("green")

        async def read() -> str:
            return colour.get()

        assert await on_loop(background.loop, read()) == "green"

    async def test_errors_come_back(self, background: BackgroundLoop) -> None:
        async def fail() -> None:
            raise LookupError("lost")

        with pytest.raises(LookupError, match="lost"):
            await on_loop(background.loop, fail())

    async def test_cancellation_is_waited_for(self, background: BackgroundLoop) -> None:
        begun = threading.Event()
        seen: list[str] = []

        async def work() -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0.02)
                seen.append("cleaned up")
                raise

        task = asyncio.create_task(on_loop(background.loop, work()))
        await asyncio.to_thread(begun.wait)
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError, match="why"):
            await task
        assert seen == ["cleaned up"]

    async def test_a_timeout_around_it_is_a_timeout(self, background: BackgroundLoop) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await on_loop(background.loop, asyncio.sleep(60))

    async def test_a_coroutine_that_is_cancelled_there_is_cancelled_here(self, background: BackgroundLoop) -> None:
        async def give_up() -> None:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await on_loop(background.loop, give_up())

    async def test_a_cancellation_that_comes_too_late_still_cancels(self, background: BackgroundLoop) -> None:
        begun, go = threading.Event(), threading.Event()

        async def finish_regardless() -> int:
            begun.set()
            go.wait()  # the cancellation cannot reach it any more
            return 1

        task = asyncio.create_task(on_loop(background.loop, finish_regardless()))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_a_closed_loop_is_an_error(self) -> None:
        background = BackgroundLoop()
        loop = background.loop
        background.close()
        with pytest.raises(RuntimeError, match="closed"):
            await on_loop(loop, running_loop())


def test_the_default_loop_is_one_per_process() -> None:
    assert default_loop() is default_loop()


def test_the_default_loop_cleans_up_at_exit() -> None:
    program = """
        import asyncio
        from pytest_hermes.background import default_loop

        async def work(begun):
            try:
                begun.set_result(None)
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)
                print("cleaned up")

        import concurrent.futures
        begun = concurrent.futures.Future()
        default_loop().submit(work(begun))
        begun.result()
    """
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("cleaned up\n", "", 0)

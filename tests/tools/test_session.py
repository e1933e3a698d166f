from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Sequence
from typing import Any

import pytest

from pytest_hermes.background import BackgroundLoop, default_loop
from pytest_hermes.errors import InfrastructureError, Unsupported, UsageError
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.task import SandboxSpec
from pytest_hermes.tools.session import SandboxSession

from .conftest import local_session

pytestmark = pytest.mark.asyncio


class CountingSandbox(LocalSandbox):
    """A local sandbox that counts what is done with it, and takes its time to start."""

    def __init__(self) -> None:
        super().__init__(SandboxSpec(), name="counting", isolation="none")
        self.calls: list[str] = []
        self.closing = asyncio.Event()

    async def start(self) -> None:
        self.calls.append("start")
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            self.calls.append("start was cancelled")
            raise
        await super().start()
        self.calls.append("started")

    async def close(self) -> None:
        self.calls.append("close")
        self.closing.set()
        await super().close()
        self.calls.append("closed")


class TestStart:
    async def test_nothing_is_made_before_it_is_used(self) -> None:
        def make() -> Any:
            raise AssertionError("made")

        session = SandboxSession(make)
        with pytest.raises(RuntimeError, match="not started yet"):
            _ = session.sandbox
        await session.close()
        assert session.closed

    async def test_all_who_ask_at_once_wait_for_one_start(self) -> None:
        sandbox = CountingSandbox()
        session = SandboxSession(lambda: sandbox)
        shells = await asyncio.gather(
            *(session.shell() for _ in range(5)), *(session.beside().shell() for _ in range(2))
        )
        assert sandbox.calls == ["start", "started"]
        assert len(set(shells)) == 3
        assert await session.start() is sandbox
        await session.close()

    async def test_the_backends_own_refusal_is_told_to_all(self) -> None:
        session = SandboxSession(lambda: LocalSandbox(SandboxSpec(image="debian"), name="test", isolation="none"))
        for _ in range(2):
            with pytest.raises(Unsupported, match="debian"):
                await session.start()
        await session.close()

    async def test_an_unforeseen_error_is_the_infrastructures(self) -> None:
        class Broken(CountingSandbox):
            async def start(self) -> None:
                raise OSError("no space")

        session = SandboxSession(Broken)
        with pytest.raises(InfrastructureError, match="did not start: OSError: no space") as raised:
            await session.start()
        assert raised.value.kind == "sandbox"
        await session.close()

    async def test_a_failure_that_nobody_waits_for_any_more_is_not_reported_twice(self) -> None:
        class Broken(CountingSandbox):
            async def start(self) -> None:
                await asyncio.sleep(0.01)
                raise OSError("no space")

        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
        session = SandboxSession(Broken)
        impatient = asyncio.create_task(session.start())
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.sleep(0.05)
        assert impatient.cancelled()
        await session.close()
        del session, impatient
        gc.collect()
        assert reported == []

    async def test_one_who_gives_up_leaves_the_start_to_the_others(self) -> None:
        sandbox = CountingSandbox()
        session = SandboxSession(lambda: sandbox)
        impatient = asyncio.create_task(session.start())
        patient = asyncio.create_task(session.start())
        await asyncio.sleep(0.01)
        impatient.cancel()
        assert await patient is sandbox
        assert impatient.cancelled()
        assert sandbox.calls == ["start", "started"]
        await session.close()


class TestClose:
    async def test_twice_at_once_and_again_closes_once(self) -> None:
        sandbox = CountingSandbox()
        session = SandboxSession(lambda: sandbox)
        await session.start()
        await asyncio.gather(session.close(), session.close(), session.beside().close())
        await session.close()
        assert sandbox.calls == ["start", "started", "close", "closed"]

    async def test_processes_end(self) -> None:
        session = local_session()
        shell = await session.shell()
        process = await shell.spawn("echo $$ > pid; exec sleep 1000")
        pid = int((await shell.run("until [ -s pid ]; do sleep 0.01; done; cat pid", timeout=20)).stdout)
        await session.close()
        assert process.poll() is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    async def test_during_the_start_ends_it_and_those_who_wait(self) -> None:
        sandbox = CountingSandbox()
        session = SandboxSession(lambda: sandbox)
        starting = asyncio.create_task(session.start())
        await asyncio.sleep(0.01)
        await session.close()
        with pytest.raises(UsageError, match="closed"):
            await starting
        assert sandbox.calls == ["start", "start was cancelled", "close", "closed"]

    async def test_afterwards_nothing_starts(self) -> None:
        session = local_session()
        await session.close()
        with pytest.raises(UsageError, match="closed"):
            await session.shell()

    async def test_it_finishes_although_it_is_cancelled(self) -> None:
        sandbox = CountingSandbox()
        session = SandboxSession(lambda: sandbox)
        await session.start()
        closing = asyncio.create_task(session.close())
        await sandbox.closing.wait()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert sandbox.calls[-1] == "closed"

    @pytest.mark.parametrize("steps", [1, 2, 3])
    async def test_it_finishes_although_all_that_it_started_is_cancelled_before_it_began(self, steps: int) -> None:
        sandbox = CountingSandbox()
        session = SandboxSession(lambda: sandbox)
        await session.start()
        closing = asyncio.create_task(session.close())
        for _ in range(steps):
            await asyncio.sleep(0)
        # As a loop does that ends.
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert "close" in sandbox.calls
        assert not await asyncio.to_thread(os.path.exists, sandbox.home)

    async def test_it_finishes_although_it_is_cancelled_before_it_began_on_its_own_loop(self) -> None:
        home = BackgroundLoop()
        try:
            sandbox = home.run(_made())
            session = SandboxSession(lambda: sandbox, loop=home.loop)
            await session.start()
            home.loop.call_soon_threadsafe(time.sleep, 0.1)
            closing = asyncio.create_task(session.close())
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert sandbox.calls[-1] == "closed"
        finally:
            home.close()


async def _made() -> CountingSandbox:
    return CountingSandbox()


class TestHomeLoop:
    async def test_is_the_one_it_is_made_on(self) -> None:
        assert local_session().loop is asyncio.get_running_loop()

    async def test_is_the_default_one_where_none_runs(self) -> None:
        session = await asyncio.to_thread(local_session)
        assert session.loop is default_loop().loop
        await session.start()
        await session.close()

    async def test_may_be_settled_later_but_once(self) -> None:
        background = BackgroundLoop()
        session = await asyncio.to_thread(local_session)
        session.settle(background.loop)
        session.settle(background.loop)
        with pytest.raises(ValueError, match="another event loop"):
            session.settle(asyncio.get_running_loop())
        other = session.beside()
        assert other.loop is background.loop
        await other.start()
        await session.close()
        assert background.close()


class TestBeside:
    async def test_both_have_one_home(self) -> None:
        session = await asyncio.to_thread(local_session)
        other = await asyncio.to_thread(session.beside)
        with pytest.raises(ValueError, match="another event loop"):
            session.settle(asyncio.get_running_loop())
        assert other.loop is session.loop

    async def run(self, session: SandboxSession, *commands: str) -> Sequence[str]:
        shell = await session.shell()
        return [(await shell.run(command)).stdout.decode().strip() for command in commands]

    async def test_files_are_shared_and_the_shell_is_not(self, session: SandboxSession) -> None:
        await self.run(session, "echo text > file; mkdir sub; cd sub; export PATH=/nowhere; cat() { echo fooled; }")
        cwd, text = await self.run(session.beside(), "pwd", "cat file")
        assert cwd == session.sandbox.workdir
        assert text == "text"
        assert await self.run(session, "cat ../file") == ["fooled"]

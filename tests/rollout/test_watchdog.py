"""Code that blocks an event loop, seen from outside the loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from pytest_hermes import InfrastructureError
from pytest_hermes.background import BackgroundLoop
from pytest_hermes.rollout.user_code import UserCode
from pytest_hermes.rollout.watchdog import Watchdog
from pytest_hermes.tools.bridge import install_bridge


class Scene:
    """A loop that is watched."""

    def __init__(self) -> None:
        self.loop = BackgroundLoop("watched")
        self.told: list[str] = []
        self.set_back = 0
        self.watchdog = Watchdog(self.told.append, on_lost=self.count)
        self.code = UserCode("t", self.watchdog)

        async def start() -> None:
            install_bridge(asyncio.get_running_loop())
            self.watchdog.start()

        self.loop.run(start())

    def count(self) -> None:
        self.set_back += 1

    def close(self) -> None:
        self.watchdog.stop()
        self.loop.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def test_time_that_is_lost_is_nobody_else_s(scene: Scene) -> None:
    async def blocks() -> str:
        time.sleep(0.6)  # noqa: ASYNC251
        return "done"

    async def other() -> float:
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(0.3):
            await asyncio.sleep(0.2)
        return asyncio.get_running_loop().time() - began

    async def both() -> tuple[str, float]:
        waiting = asyncio.create_task(other())
        await asyncio.sleep(0)
        answer = await scene.code.call("verifier", blocks, seconds=5)
        return answer, await waiting

    answer, seconds = scene.loop.run(both())
    assert answer == "done"
    assert seconds < 0.6
    assert scene.watchdog.lost == pytest.approx(0.6, abs=0.3)
    assert scene.set_back == 1
    assert not scene.told


def test_many_short_blocks_count_together(scene: Scene) -> None:
    async def blocks() -> None:
        while True:
            time.sleep(0.2)  # noqa: ASYNC251
            await asyncio.sleep(0)

    with pytest.raises(InfrastructureError, match=r"blocks did not finish within 1 s") as caught:
        scene.loop.run(scene.code.call("setup", blocks, seconds=1))
    assert caught.value.kind == "setup"
    assert scene.watchdog.lost < 3


def test_it_ends_within_its_time_and_no_later_code_hears_of_it(scene: Scene) -> None:
    def spins() -> None:
        while True:
            pass

    async def calls() -> None:
        for _ in range(3):
            with pytest.raises(InfrastructureError, match="did not finish"):
                await scene.code.call("verifier", spins, seconds=0.3)
            began = time.perf_counter()
            while time.perf_counter() - began < 0.3:  # would be hit by what is left over
                pass

    scene.loop.run(calls())
    assert scene.watchdog.blocked is None


def test_what_blocks_without_a_limit_is_named_and_can_be_interrupted(scene: Scene) -> None:
    async def spins() -> None:
        while True:
            pass

    future = scene.loop.submit(scene.code.call("verifier", spins, seconds=None))
    deadline = time.monotonic() + 20
    while not scene.told and time.monotonic() < deadline:
        time.sleep(0.02)
    assert scene.watchdog.blocked == "spins of task 't'"
    assert scene.told[0].startswith("spins of task 't' blocks the event loop at test_watchdog.py:")
    while not future.done() and time.monotonic() < deadline:
        scene.watchdog.interrupt()
        time.sleep(0.1)
    with pytest.raises(InfrastructureError, match="spins did not finish; it blocked"):
        future.result()

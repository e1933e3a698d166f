"""Engines that go away in the middle of a run, and come back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from pytest_hermes import Benchmark, Task
from pytest_hermes.background import BackgroundLoop
from pytest_hermes.config.fields import EnvConfig
from pytest_hermes.core.processes import start_of
from pytest_hermes.errors import SandboxBroken, SandboxLost
from pytest_hermes.models.builtin import OracleSource
from pytest_hermes.rollout.engine import Engine
from pytest_hermes.rollout.plan import AttemptPlan, PlannedTask
from pytest_hermes.sandbox.docker import outage
from pytest_hermes.sandbox.docker.owner import current_owner
from pytest_hermes.sandbox.docker.sandbox import DockerSandbox
from pytest_hermes.sandbox.status import statuses
from pytest_hermes.task import SandboxSpec
from pytest_hermes.tools.toolsets import resolve_toolsets
from tests.services.engine_proxy import EngineProxy
from tests.services.required import require

from .containers import labelled, output

pytestmark = pytest.mark.usefixtures("docker_image")

ROOT = Path(__file__).parents[2]
WAITING = "waiting for the Docker engine at "


class Link:
    """A way to the tests' engine that can be cut."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = os.environ["DOCKER_HOST"].removeprefix("unix://")
        self._proxy: EngineProxy | None = EngineProxy(self._path)
        self._port = self._proxy.port
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{self._port}")

    def cut(self) -> None:
        if self._proxy is not None:
            self._proxy.close()
            self._proxy = None

    def join(self) -> None:
        self._proxy = EngineProxy(self._path, port=self._port)


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    link = Link(monkeypatch)
    yield link
    link.cut()


@pytest.mark.asyncio
async def test_what_starts_meanwhile_waits_for_the_engine(
    link: Link, docker_image: str, docker_engine: docker.APIClient
) -> None:
    first, second = (DockerSandbox(SandboxSpec(image=docker_image), name=name) for name in ("first", "second"))
    try:
        await first.start()
        running = asyncio.create_task(first.exec("sleep 60"))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(link.cut)
        with pytest.raises(SandboxLost) as e:
            await running
        assert not isinstance(e.value, SandboxBroken)
        starting = asyncio.create_task(second.start())
        await first.close()
        while not any(text.startswith(WAITING) for text in statuses()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        link.join()
        await starting
        assert not any(text.startswith(WAITING) for text in statuses())
        assert await output(second, "echo on") == "on\n"
        # What could not be removed then has been by now.
        assert len(labelled(docker_engine, current_owner())) == 1
    finally:
        await first.close()
        await second.close()


@pytest.mark.asyncio
async def test_waiting_has_an_end(link: Link, docker_image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "_PATIENCE", 0.5)
    before, after = (DockerSandbox(SandboxSpec(image=docker_image), name=name) for name in ("before", "after"))
    await before.start()
    await before.close()
    await asyncio.to_thread(link.cut)
    for seconds in (0.5, 0.0):  # once it was waited for in vain, nobody waits any more
        began = time.monotonic()
        with pytest.raises(SandboxLost, match=r"the Docker engine at tcp://.* does not answer"):
            await DockerSandbox(SandboxSpec(image=docker_image), name="y").start()
        assert seconds <= time.monotonic() - began < seconds + 5
    link.join()
    try:
        await after.start()
        assert await output(after, "echo on") == "on\n"
    finally:
        await after.close()


class Slow(Benchmark):
    """Tasks that take a while."""

    name = "slow"

    def tasks(self) -> list[Task]:
        return [Task(id=f"t{number}", prompt="p", solution="sleep 2; echo x >work") for number in range(6)]

    async def compute_reward(self, item: Any, result: Any, ctx: Any) -> float:
        return float(ctx.terminal("cat work")["exit_code"] == 0)


@pytest.mark.slow
def test_a_run_outlives_an_engine_that_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    require("docker", None if os.geteuid() == 0 else "another engine can be started by root only")
    script = 'echo "$DOCKER_HOST $HERMES_TEST_IMAGE"; read -r line'
    services = subprocess.Popen(
        [ROOT / ".ci" / "services", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert services.stdout is not None
    again: subprocess.Popen[bytes] | None = None
    try:
        host, image = services.stdout.readline().split()
        monkeypatch.setenv("DOCKER_HOST", host)
        folder = Path(host.removeprefix("unix://")).parent
        daemon = int((folder / "pid").read_text())
        started = start_of(daemon)
        command = Path(f"/proc/{daemon}/cmdline").read_bytes().split(b"\0")[:-1]

        def start_anew() -> None:
            nonlocal again
            time.sleep(1)
            os.kill(daemon, signal.SIGTERM)
            while start_of(daemon) == started:
                time.sleep(0.1)
            time.sleep(2)
            again = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        loop = BackgroundLoop("outage")
        engine = Engine(limit=3, run_id="r", results=None, on_record=lambda record: None, loop=loop)
        env = EnvConfig.model_validate({"terminal_backend": "docker", "terminal_image": image})
        benchmark, tools = Slow(), tuple(resolve_toolsets(["terminal"]))
        source = OracleSource("oracle")
        restarting = threading.Thread(target=start_anew)
        try:
            plans = [
                AttemptPlan(PlannedTask(benchmark, task, task), 1, source, env, tools) for task in benchmark.tasks()
            ]
            handles = [engine.submit(plan, plan.planned.task.id) for plan in plans]
            restarting.start()
            records = [handle.future.result(90).record for handle in handles]
        finally:
            restarting.join()
            engine.stop()
            loop.close()
        assert [record.status for record in records] == ["passed"] * 6
        assert 1 <= sum(len(record.earlier_errors) for record in records) <= 3
    finally:
        if again is not None:
            again.terminate()
            again.wait(30)
        services.communicate("\n", timeout=30)

"""The supervisors of the local sandbox: one that dies or hangs, and many at once."""

# ruff: noqa: ASYNC240 - nothing else runs on the loop

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_hermes.errors import InfrastructureError
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.sandbox.protocol import Sandbox
from tests.sandbox.backends import opened
from tests.sandbox.test_contract import appeared, marker, vanished

asynchronous = pytest.mark.asyncio

Alive = Callable[[str], list[int]]


def supervisor_pid(sandbox: Sandbox) -> int:
    assert isinstance(sandbox, LocalSandbox)
    assert sandbox._client is not None
    assert sandbox._client.pid is not None
    return sandbox._client.pid


@asynchronous
async def test_a_dead_supervisor_is_an_infrastructure_error(backend: str, alive: Alive) -> None:
    async with opened(backend) as sandbox:
        seconds = marker()
        running = [asyncio.create_task(sandbox.exec(f"setsid sleep {seconds} & sleep {seconds}")) for _ in range(3)]
        process = await sandbox.spawn(f"sleep {seconds}")
        assert await appeared(alive, seconds, 7)
        os.kill(supervisor_pid(sandbox), signal.SIGKILL)
        for task in running:
            with pytest.raises(InfrastructureError, match="the sandbox has died") as caught:
                await asyncio.wait_for(task, 5)
            assert caught.value.kind == "sandbox"
        assert process.poll() == 137
        with pytest.raises(InfrastructureError):
            await sandbox.exec("true")
        assert await vanished(alive, seconds)
    assert not os.path.exists(sandbox.home)


@asynchronous
async def test_killing_what_runs_a_command_ends_that_command_alone(backend: str, alive: Alive) -> None:
    async with opened(backend) as sandbox:
        text = marker()
        assert (await sandbox.exec(f"sleep {text} & kill -9 $PPID; sleep 60", timeout=30)).exit_code == 137
        # It may be kept for the next command.
        other = await sandbox.spawn("echo $PPID; sleep 0.3")
        mine = (await sandbox.exec("echo $PPID")).stdout.decode().strip()
        assert await other.wait(30) == 0
        both = f"{mine} {other.read()[0].decode().strip()}"
        # Its own comes last: after that the next command may begin.
        await sandbox.exec(f"for pid in {both}; do [ $pid = $PPID ] || kill -9 $pid; done; kill -9 $PPID")
        for _ in range(5):
            assert (await sandbox.exec("echo on")).stdout == b"on\n"
    assert await vanished(alive, text)


@asynchronous
async def test_a_kill_that_comes_late_does_not_hit_the_next_command(backend: str) -> None:
    async with opened(backend) as sandbox:
        for number in range(40):
            process = await sandbox.spawn("true")
            await asyncio.sleep(number * 0.0002)
            killing = asyncio.create_task(process.kill())
            assert (await sandbox.exec("echo on")).stdout == b"on\n"
            await killing


@asynchronous
async def test_a_supervisor_that_does_not_answer_is_killed(
    backend: str, alive: Alive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_hermes.sandbox.supervisor_client._END_TIMEOUT", 0.3)
    async with opened(backend) as sandbox:
        seconds = marker()
        await sandbox.exec(f"sleep {seconds} &")
        assert await appeared(alive, seconds)
        pid = supervisor_pid(sandbox)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        stopped = int(children[0]) if backend == "bubblewrap" else pid
        os.kill(stopped, signal.SIGSTOP)
        await asyncio.wait_for(sandbox.close(), 5)
        assert await vanished(alive, seconds)


@asynchronous
async def test_many_sandboxes_live_in_one_loop(backend: str) -> None:
    async def one(number: int) -> None:
        async with opened(backend) as sandbox:
            await sandbox.exec(f"echo {number} >file")
            assert (await sandbox.exec("cat file")).stdout == b"%d\n" % number

    await asyncio.gather(*(one(number) for number in range(48)))


def test_sandboxes_on_other_loops_live_on_when_a_loop_ends(backend: str) -> None:
    async def one(inner: Callable[[], None]) -> bytes:
        async with opened(backend) as sandbox:
            await asyncio.to_thread(inner)
            return (await sandbox.exec("echo on")).stdout

    def inner() -> None:
        assert asyncio.run(one(lambda: None)) == b"on\n"

    assert asyncio.run(one(inner)) == b"on\n"


@asynchronous
async def test_sandboxes_can_be_started_when_those_before_were_killed(backend: str) -> None:
    async with opened(backend) as sandbox, opened(backend):
        status = Path(f"/proc/{supervisor_pid(sandbox)}/status").read_text()
        parent = int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])
        os.kill(supervisor_pid(sandbox) if parent == os.getpid() else parent, signal.SIGKILL)
        with pytest.raises(InfrastructureError, match="the sandbox has died"):
            await sandbox.exec("sleep 30")
        async with opened(backend) as another:
            assert (await another.exec("echo on")).stdout == b"on\n"

"""What may go wrong with containers: what agents do to theirs, connections that break, engines that end."""

# ruff: noqa: ASYNC110, ASYNC220, ASYNC240 - nothing else runs on the loop

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from pytest_hermes.errors import InfrastructureError
from pytest_hermes.sandbox.docker import outage
from pytest_hermes.sandbox.docker.address import Address
from pytest_hermes.sandbox.docker.owner import current_owner
from pytest_hermes.sandbox.docker.sandbox import DockerSandbox
from pytest_hermes.sandbox.shell import Shell
from pytest_hermes.task import SandboxSpec
from tests.services.required import container_image, require

from .backends import BACKENDS, opened
from .containers import labelled, output
from .test_contract import marker, resident

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("docker_image")]

ROOT = Path(__file__).parents[2]


async def test_a_timeout_kills_the_process_group_where_commands_cannot_be_told_apart(
    alive: Callable[[str], list[int]],
) -> None:
    locks = {"ulimits": [{"Name": "locks", "Soft": 100, "Hard": 100}]}
    sandbox = BACKENDS["docker"](SandboxSpec(), name="x", options=locks)
    try:
        await sandbox.start()
        assert not sandbox.capabilities.hard_kill
        seconds = marker()
        result = await sandbox.exec(f"sleep {seconds} & sleep {seconds}", timeout=0.5)
        assert result.timed_out
        assert not alive(seconds)
        assert await output(sandbox, "echo next") == "next\n"
    finally:
        await sandbox.close()


async def test_a_sandbox_that_is_closed_while_it_starts_leaves_nothing(docker_engine: docker.APIClient) -> None:
    for seconds in (0, 0.03, 0.1, 0.2):
        sandbox = BACKENDS["docker"](SandboxSpec(), name="x")
        starting = asyncio.create_task(sandbox.start())
        await asyncio.sleep(seconds)
        await sandbox.close()
        with contextlib.suppress(InfrastructureError):
            await starting
        with pytest.raises(InfrastructureError):
            await sandbox.exec("true")
    assert labelled(docker_engine, current_owner()) == []


async def test_an_agent_that_uses_up_all_processes_has_done_so_itself(alive: Callable[[str], list[int]]) -> None:
    seconds = marker()
    async with opened("docker", pids=40) as sandbox:
        await sandbox.exec(f"for n in $(seq 60); do setsid sleep {seconds} & done", timeout=0.5)
        assert not alive(seconds)
        assert await output(sandbox, "echo room") == "room\n"
        process = await sandbox.spawn(f"for n in $(seq 60); do sleep {seconds} & done; wait")
        while len(alive(seconds)) < 36:
            await asyncio.sleep(0.02)
        result = await sandbox.exec("true")
        assert result.exit_code == 126
        assert b"no process can be started: the sandbox has as many as it may have" in result.stderr
        await process.kill()
        assert not alive(seconds)


async def test_a_folder_that_is_gone_keeps_no_command_from_starting() -> None:
    async with opened("docker", workdir="/app") as sandbox:
        await sandbox.exec("rm -rf /app")
        assert await output(sandbox, "pwd", cwd="/") == "/\n"
        assert b"cannot start in '/app" in (await sandbox.exec("pwd")).stderr
        assert (await Shell(sandbox).run("pwd")).stdout.endswith(b"this command starts in /root\n/root\n")


@pytest.mark.parametrize("shell", ["bash", "sh"])
async def test_a_session_survives_a_full_disk(shell: str) -> None:
    sandbox = DockerSandbox(SandboxSpec(image=container_image()), name="x", options={"tmpfs": {"/tmp": "size=64k"}})
    try:
        await sandbox.start()
        sandbox.shell = shell
        session = Shell(sandbox)
        await session.run("cd /usr; export KEPT=1; f() { echo 2; }")
        fill, note = "head -c 1m /dev/zero >/tmp/full 2>/dev/null", b"hermes: the disk is full; the next command starts"
        assert note in (await session.run(f"cd /etc; {fill}; export LARGE=$(seq 20000)")).stdout
        kept = await session.run(f"pwd; echo $KEPT; {'f' if shell == 'bash' else 'echo 2'}")
        assert kept.stdout.startswith(b"/usr\n1\n2\n")
        await session.run("rm /tmp/full; cd /etc; export KEPT=3")
        assert (await session.run("pwd; echo $KEPT")).stdout == b"/etc\n3\n"
    finally:
        await sandbox.close()


async def test_what_is_aimed_at_other_processes_does_not_end_the_container() -> None:
    async with opened("docker", workdir="/app") as sandbox:
        await sandbox.exec("pkill -f /app; pkill cat; killall cat; pkill -INT -f hermes; pkill -HUP cat")
        assert await output(sandbox, "echo on") == "on\n"


async def test_what_is_written_to_the_containers_own_output_takes_no_memory() -> None:
    async with opened("docker") as sandbox:
        before = resident()
        await sandbox.exec("head -c 50m /dev/zero >/proc/1/fd/1")
        assert resident() - before < 25 << 20


async def test_input_has_an_end_where_connections_cannot_half_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Address, "can_half_close", property(lambda self: False))
    async with opened("docker") as sandbox:
        data = os.urandom(300_000)
        result = await sandbox.exec("cat; echo end >&2; exit 5", stdin=data, timeout=20)
        assert (result.exit_code, result.stdout == data, result.stderr) == (5, True, b"end\n")


async def test_an_engine_that_ends_is_an_infrastructure_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("docker", None if os.geteuid() == 0 else "another engine can be started by root only")
    script = 'echo "$DOCKER_HOST $HERMES_TEST_IMAGE"; read -r line'
    services = subprocess.Popen(
        [ROOT / ".ci" / "services", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert services.stdout is not None
    try:
        host, image = services.stdout.readline().split()
        monkeypatch.setenv("DOCKER_HOST", host)
        sandbox = DockerSandbox(SandboxSpec(image=image), name="x")
        await sandbox.start()
        running = asyncio.create_task(sandbox.exec("sleep 60"))
        await asyncio.sleep(0.3)
        os.kill(int(Path(host.removeprefix("unix://")).with_name("pid").read_text()), signal.SIGTERM)
        with pytest.raises(InfrastructureError, match=r"does not answer|has died"):
            await asyncio.wait_for(running, 30)
        await sandbox.close()
        with pytest.raises(InfrastructureError):
            await sandbox.exec("true")
        end = time.monotonic() + 20
        while Path(host.removeprefix("unix://")).exists() and time.monotonic() < end:
            await asyncio.sleep(0.05)
        monkeypatch.setattr(outage, "_PATIENCE", 0.5)
        with pytest.raises(InfrastructureError, match="does not answer"):
            await DockerSandbox(SandboxSpec(image=image), name="y").start()
    finally:
        services.communicate("\n", timeout=30)

"""Whose fault it is that a container does not work any more: the agent's, or somebody else's."""

from __future__ import annotations

import asyncio
import contextlib
import io

import docker
import pytest
from _pytest.mark import ParameterSet

from pytest_hermes.errors import InfrastructureError, SandboxBroken
from pytest_hermes.sandbox.docker import command, engine
from pytest_hermes.sandbox.docker.sandbox import DockerSandbox
from pytest_hermes.sandbox.protocol import Sandbox

from .backends import opened
from .containers import output

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("docker_image")]

#: Stops every process as soon as it starts, also what the engine starts on its way into the container.
STOPPER = "while :; do kill -STOP -1; done"

#: Takes all the room that there is for processes, whenever there is some, and cannot be killed by its number.
FILLER = r"""
export SCRIPT='trap "exec sh -c \"\$SCRIPT\"" EXIT; while :; do sleep 1000 & done 2>/dev/null'
ulimit -x 5; setsid sh -c "$SCRIPT" & sleep 0.5
"""

#: What wrap.sh says first.
BEGIN = r'printf "\0%sbeg\n" "$4" >&2'

NO_SHELL = "the sandbox's shell, /bin/sh, cannot be run any more"


def slow(*values: str) -> ParameterSet:
    return pytest.param(*values, marks=pytest.mark.slow)


def container_of(sandbox: Sandbox) -> str:
    assert isinstance(sandbox, DockerSandbox)
    assert sandbox._life is not None
    return sandbox._life.container


async def pulled(sandbox: Sandbox, path: str) -> bytes:
    stream = io.BytesIO()
    await sandbox.pull(path, stream)
    return stream.getvalue()


def replaced_by(script: str) -> str:
    """Return a command that replaces the shell by a script of bash."""
    return f"rm /bin/sh\ncat >/bin/sh <<'END'\n#!/bin/bash\n{script}\nEND\nchmod 755 /bin/sh"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long."""
    monkeypatch.setattr(command, "_ROOM_PATIENCE", 1.0)
    monkeypatch.setattr(command, "_START_TIMEOUT", 2.0)
    monkeypatch.setattr(command, "_KILL_PATIENCE", 2.0)
    monkeypatch.setattr(engine, "_REQUEST_TIMEOUT", 5)
    monkeypatch.setattr(engine.shared_engine().client, "timeout", 5)


# The agent's


@pytest.mark.parametrize(
    ("deed", "message"),
    [
        ("rm -f /bin/sh", NO_SHELL),
        slow("chmod 0 /bin/busybox", NO_SHELL),
        (replaced_by(BEGIN), "the sandbox's shell, /bin/sh, does not do any more what"),
        slow(replaced_by("echo nonsense"), "commands cannot be started any more in the sandbox: nonsense"),
        slow(replaced_by("exit 2"), "commands cannot be started any more in the sandbox: "),
        slow(replaced_by("exec sleep 1000"), "something in the sandbox keeps the commands that are started from"),
    ],
    ids=["none", "no interpreter", "a beginning alone", "nonsense", "nothing", "hangs"],
)
async def test_a_broken_shell(deed: str, message: str, impatient: None) -> None:
    async with opened("docker", workdir="/app") as sandbox:
        await sandbox.exec(f"echo work >file; {deed}")
        with pytest.raises(SandboxBroken, match=message):
            await sandbox.exec("echo on", timeout=10)
        with pytest.raises(SandboxBroken):
            await sandbox.download("/app", io.BytesIO())
        await sandbox.freeze()
        assert b"work\n" in await pulled(sandbox, "/app/file")


async def test_a_command_that_nothing_can_kill() -> None:
    async with opened("docker") as sandbox:
        with pytest.raises(SandboxBroken, match=f"a command cannot be killed: {NO_SHELL}"):
            await sandbox.exec("rm -f /bin/sh; while :; do :; done", timeout=0.5)
        with pytest.raises(SandboxBroken, match=NO_SHELL):
            await sandbox.spawn("echo on")
        with pytest.raises(SandboxBroken, match="the sandbox's container does not start again: "):
            await sandbox.end_processes()


async def test_copying_needs_a_program_that_an_agent_may_remove() -> None:
    async with opened("docker") as sandbox:
        # The shell's own, where it is busybox, is no file.
        await sandbox.exec("ln -sf bash /bin/sh; rm /bin/tar")
        with pytest.raises(SandboxBroken, match="cannot be written to '/new' in the sandbox"):
            await sandbox.upload(io.BytesIO(b"\0" * 1024), "/new")


@pytest.mark.slow
async def test_no_room_is_a_result_while_something_can_be_killed_and_the_end_otherwise(impatient: None) -> None:
    async with opened("docker", pids=40) as sandbox:
        process = await sandbox.spawn("sleep 1000")
        await sandbox.exec(FILLER, timeout=20)
        for _ in range(20):  # one may be lucky: the engine's own helpers come and go
            result = await sandbox.exec("true")
            if result.exit_code:
                break
        assert result.exit_code == 126
        assert b"no process can be started: the sandbox has as many as it may have" in result.stderr
        with contextlib.suppress(SandboxBroken):  # what kills finds no room either
            await process.kill()
        with pytest.raises(SandboxBroken, match="commands cannot be started any more in the sandbox: "):
            await _run_until_one_fails(sandbox)
        await sandbox.end_processes()
        assert await output(sandbox, "echo on") == "on\n"


async def _run_until_one_fails(sandbox: Sandbox) -> None:
    for _ in range(20):
        await sandbox.exec("true")


@pytest.mark.slow
async def test_room_that_is_made_in_time_lets_a_command_start() -> None:
    async with opened("docker", pids=40) as sandbox:
        fill = "trap 'exit 0' EXIT; for n in $(seq 60); do setsid sleep 2 & done"
        await sandbox.exec(["sh", "-c", fill], timeout=20)
        assert await output(sandbox, "echo on") == "on\n"


@pytest.mark.slow
async def test_what_stops_every_command(impatient: None) -> None:
    async with opened("docker", workdir="/app") as sandbox:
        await sandbox.exec("echo work >file")
        with pytest.raises(SandboxBroken, match="a command cannot be killed within its container"):
            await sandbox.exec(STOPPER, timeout=0.5)
        with pytest.raises(SandboxBroken, match="a command cannot be killed within its container"):
            await sandbox.exec("echo on")
        await sandbox.end_processes()
        assert await output(sandbox, "cat file") == "work\n"
        await sandbox.spawn(STOPPER)
        # The engine itself may wait for what it starts there, and then does nothing else with this container.
        with pytest.raises(SandboxBroken):
            await sandbox.exec("echo on", timeout=1)
        await sandbox.freeze()
        assert b"work\n" in await pulled(sandbox, "/app/file")


async def test_a_container_that_was_ended_by_what_ran_in_it() -> None:
    async with opened("docker", workdir="/app") as sandbox:
        running = asyncio.create_task(sandbox.exec("echo work >file; sleep 60"))
        await asyncio.sleep(0.3)
        attempts = (sandbox.exec("echo x >/proc/1/fd/0; sleep 60"), running, sandbox.exec("echo on"))
        for attempt in attempts:
            with pytest.raises(SandboxBroken, match="its container was ended by what ran in it"):
                await attempt
        assert "/app/file" in (await sandbox.changed_files() or ())
        await sandbox.freeze()
        assert b"work\n" in await pulled(sandbox, "/app/file")
        await sandbox.end_processes()
        assert await output(sandbox, "cat file") == "work\n"


# Somebody else's


async def test_a_container_that_was_killed_from_outside(docker_engine: docker.APIClient) -> None:
    async with opened("docker") as sandbox:
        running = asyncio.create_task(sandbox.exec("sleep 60"))
        await asyncio.sleep(0.3)
        docker_engine.kill(container_of(sandbox))
        for attempt in (running, sandbox.exec("echo on")):
            with pytest.raises(InfrastructureError, match="its container was ended from outside") as e:
                await attempt
            assert not isinstance(e.value, SandboxBroken)


async def test_a_container_that_was_removed(docker_engine: docker.APIClient) -> None:
    async with opened("docker") as sandbox:
        docker_engine.remove_container(container_of(sandbox), force=True)
        for attempt in (sandbox.exec("echo on"), sandbox.freeze()):
            with pytest.raises(InfrastructureError, match="its container was removed") as e:
                await attempt
            assert not isinstance(e.value, SandboxBroken)


async def test_a_container_that_was_paused(docker_engine: docker.APIClient) -> None:
    async with opened("docker") as sandbox:
        docker_engine.pause(container_of(sandbox))
        with pytest.raises(InfrastructureError, match="is paused") as e:
            await sandbox.exec("echo on")
        assert not isinstance(e.value, SandboxBroken)
        docker_engine.unpause(container_of(sandbox))
        assert await output(sandbox, "echo on") == "on\n"

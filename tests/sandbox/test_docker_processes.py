"""What keeps a container alive whatever runs in it, and what ends all that runs in it."""

# ruff: noqa: ASYNC240 - nothing else runs on the loop

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest

from pytest_hermes.errors import InfrastructureError
from pytest_hermes.sandbox.docker.sandbox import DockerSandbox
from pytest_hermes.sandbox.protocol import Sandbox
from pytest_hermes.task import SandboxSpec
from tests.services.required import container_image

from .backends import opened
from .containers import output
from .test_contract import appeared, marker, vanished

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("docker_image")]

Alive = Callable[[str], list[int]]

#: Threads that outlive the thread which began their process: the process then shows as a zombie.
THREADS = """
import ctypes, threading, time
threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(int, 1)]).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def processes(docker_engine: docker.APIClient, sandbox: Sandbox) -> list[str]:
    """State and name of all that is in a container, as its host sees it."""
    assert isinstance(sandbox, DockerSandbox)
    assert sandbox._life is not None
    # The engine wants to see a process id, and puts all but the first columns into one.
    rows = docker_engine.top(sandbox._life.container, ps_args="-o pid,stat,comm")["Processes"]
    return [f"{row[1][0]} {row[2]}" for row in rows]


# The main process


async def test_killing_all_in_a_container_leaves_the_container() -> None:
    async with opened("docker") as sandbox:
        other = asyncio.create_task(sandbox.exec("sleep 60"))
        await asyncio.sleep(0.3)
        assert (await sandbox.exec("kill -9 -1; kill -9 1; kill -STOP 1; kill -TERM 1; kill -HUP 1")).exit_code == 137
        assert (await other).exit_code == 137
        assert await output(sandbox, "echo on") == "on\n"


@pytest.mark.parametrize("shell", ["busybox", "bash", "dash"])
async def test_orphans_leave_no_zombies_whatever_the_shell_is(
    shell: str, docker_image: str, docker_engine: docker.APIClient, tmp_path: Path
) -> None:
    spec: dict[str, Any] = {}
    if shell != "busybox":  # that is the image's own
        program = shutil.which(shell) or pytest.skip(f"there is no {shell}")
        (tmp_path / "shell").write_bytes(Path(program).read_bytes())
        (tmp_path / "Dockerfile").write_text(
            f"FROM {docker_image}\nCOPY shell /bin/another\nRUN chmod 755 /bin/another && ln -sf another /bin/sh\n"
        )
        spec["build_context"] = tmp_path
    async with opened("docker", pids=100, **spec) as sandbox:
        for _ in range(2):
            await sandbox.exec(["bash", "-c", "for n in {1..60}; do ((sleep 0.1 &) &); done; sleep 0.3"])
        # One that ended at the very moment when the main process began to wait is taken along by the next.
        await sandbox.exec("((sleep 0.1 &) &); sleep 0.3")
        assert [process for process in processes(docker_engine, sandbox) if process.startswith("Z")] == []
        assert (await sandbox.exec("kill -9 -1")).exit_code == 137
        assert await output(sandbox, "echo on") == "on\n"


async def test_a_main_process_needs_no_room_for_another() -> None:
    async with opened("docker", pids=30) as sandbox:
        fill = "trap 'kill -9 -1' EXIT; for n in $(seq 40); do sleep 60 & done"
        assert (await sandbox.exec(["sh", "-c", fill], timeout=20)).exit_code == 137
        assert await output(sandbox, "echo on") == "on\n"


# end_processes


async def test_no_process_outlives_their_end_and_all_files_do(alive: Alive, docker_engine: docker.APIClient) -> None:
    async with opened("docker", workdir="/app", env={"GIVEN": "1"}) as sandbox:
        seconds = marker()
        await sandbox.exec(f"echo kept >file; chmod 600 file; setsid sleep {seconds} & (sleep {seconds} &)")
        process = await sandbox.spawn(f"trap '' TERM; sleep {seconds}; sleep {seconds}")
        assert await appeared(alive, seconds, 3)
        await sandbox.end_processes()
        assert not alive(seconds)
        assert process.poll() == 137
        assert await output(sandbox, "pwd; cat file; echo $GIVEN") == "/app\nkept\n1\n"
        assert [process[2:] for process in processes(docker_engine, sandbox)] == ["sh"]
        await sandbox.end_processes()
        assert await output(sandbox, "echo on") == "on\n"


async def test_a_process_whose_first_thread_has_ended_does_not_outlive_it(docker_engine: docker.APIClient) -> None:
    python = Path("/usr/bin/python3").resolve()
    if not python.exists():
        pytest.skip("there is no Python in /usr/bin")
    folders = [folder for folder in ("/usr", "/lib", "/lib64") if os.path.isdir(folder)]
    options = {"volumes": [f"{os.path.realpath(folder)}:/host{folder}:ro" for folder in folders]}
    sandbox = DockerSandbox(SandboxSpec(image=container_image()), name="x", options=options)
    try:
        await sandbox.start()
        python_there = f"chroot /host {python} -c"
        await sandbox.exec(f"{python_there} '{THREADS}' >/dev/null 2>&1 &")
        for _ in range(100):
            if any(process.startswith("Z python") for process in processes(docker_engine, sandbox)):
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("there is no such process")
        await sandbox.end_processes()
        assert [process[2:] for process in processes(docker_engine, sandbox)] == ["sh"]
    finally:
        await sandbox.close()


async def test_a_fork_bomb_at_the_limit_does_not_outlive_it(alive: Alive) -> None:
    name = marker()
    async with opened("docker", pids=200) as sandbox:
        await sandbox.exec(["bash", "-c", "b() { b | b & }; b", name], timeout=20)
        await asyncio.sleep(0.5)
        assert alive(name)
        await sandbox.end_processes()
        assert not alive(name)
        assert await output(sandbox, "echo on") == "on\n"


async def test_what_stops_every_process_does_not_outlive_it() -> None:
    async with opened("docker") as sandbox:
        await sandbox.spawn("while :; do kill -STOP -1; done")
        await sandbox.end_processes()
        assert await output(sandbox, "echo on") == "on\n"


async def test_a_container_ends_with_its_lease_after_its_processes_were_ended(alive: Alive) -> None:
    async with opened("docker") as sandbox:
        assert isinstance(sandbox, DockerSandbox)
        await sandbox.end_processes()
        seconds = marker()
        await sandbox.exec(f"sleep {seconds} &")
        assert await appeared(alive, seconds)
        assert sandbox._life is not None
        sandbox._life.release()
        assert await vanished(alive, seconds)


async def test_a_sandbox_that_is_not_open_has_no_processes_to_end() -> None:
    async with opened("docker") as sandbox:
        await sandbox.close()
        with pytest.raises(InfrastructureError, match="not open"):
            await sandbox.end_processes()

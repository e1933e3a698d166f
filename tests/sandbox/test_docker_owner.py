"""What is left when the owner of containers dies."""

from __future__ import annotations

import contextlib
import random
import secrets
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path

import docker
import pytest

from pytest_hermes.sandbox.docker import reap
from pytest_hermes.sandbox.docker.owner import LABEL, current_owner
from pytest_hermes.sandbox.docker.reap import remove_ended

from .containers import labelled

pytestmark = pytest.mark.usefixtures("docker_image")


def test_what_dead_owners_left_is_removed_and_nothing_else(docker_engine: docker.APIClient, docker_image: str) -> None:
    machine, pid, started = current_owner().split(":")
    owners = {
        "dead": f"{machine}:{pid}:{int(started) - 1}",  # had this number before
        "gone": f"{machine}:{2**22 + 1}:77",
        "alive": current_owner(),
        "elsewhere": f"another-machine:{2**22 + 1}:77",
        "unreadable": "who knows",
    }
    made = {
        what: docker_engine.create_container(docker_image, ["true"], labels={LABEL: owner})["Id"]
        for what, owner in owners.items()
    }
    try:
        script = "from pytest_hermes.sandbox.docker.engine import shared_engine; shared_engine()"
        subprocess.run([sys.executable, "-c", script], check=True)
        left = labelled(docker_engine)
        assert [what for what in made if made[what] in left] == ["alive", "elsewhere", "unreadable"]
    finally:
        for container in made.values():
            with contextlib.suppress(docker.errors.APIError):
                docker_engine.remove_container(container, force=True)


@pytest.mark.slow
def test_what_ended_long_ago_is_removed_whoever_owned_it(
    docker_engine: docker.APIClient, docker_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = f"another-machine:{2**22 + 1}:77"
    commands = {"ended": ["true"], "runs": ["sleep", "60"]}
    made = {
        what: docker_engine.create_container(docker_image, command, labels={LABEL: owner})["Id"]
        for what, command in commands.items()
    }
    try:
        for container in made.values():
            docker_engine.start(container)
        docker_engine.wait(made["ended"])
        remove_ended(docker_engine)
        assert set(made.values()) <= set(labelled(docker_engine))
        # Longer than any other test's container is down while it is started once more.
        monkeypatch.setattr(reap, "_FORGOTTEN", timedelta(seconds=10))
        time.sleep(11)
        assert remove_ended(docker_engine) >= 1
        left = labelled(docker_engine)
        assert [what for what in made if made[what] in left] == ["runs"]
    finally:
        for container in made.values():
            with contextlib.suppress(docker.errors.APIError):
                docker_engine.remove_container(container, force=True)


BUSY = """
import asyncio, pathlib, secrets, sys, tempfile
from pytest_hermes.sandbox.docker.owner import current_owner
from pytest_hermes.sandbox.docker.sandbox import DockerSandbox
from pytest_hermes.task import SandboxSpec

async def one(spec):
    while True:
        sandbox = DockerSandbox(spec, name="busy")
        await sandbox.start()
        await sandbox.exec("sleep 1000 & setsid sleep 1000 & echo hi")
        await sandbox.close()

async def main():
    folder = pathlib.Path(sys.argv[2])
    (folder / "Dockerfile").write_text(f"FROM {sys.argv[1]}\\nRUN echo {secrets.token_hex(4)} && sleep 0.3\\n")
    print(current_owner(), flush=True)
    await asyncio.gather(
        one(SandboxSpec(image=sys.argv[1])), one(SandboxSpec(image=sys.argv[1])), one(SandboxSpec(build_context=folder))
    )

asyncio.run(main())
"""


def test_nothing_is_left_two_seconds_after_a_kill(
    docker_engine: docker.APIClient, docker_image: str, tmp_path: Path
) -> None:
    (tmp_path / "busy.py").write_text(textwrap.dedent(BUSY))

    def started() -> tuple[str, subprocess.Popen[str]]:
        folder = tmp_path / secrets.token_hex(4)
        folder.mkdir()
        command: list[str | Path] = [sys.executable, tmp_path / "busy.py", docker_image, folder]
        busy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert busy.stdout is not None
        owner = busy.stdout.readline().strip()
        while not labelled(docker_engine, owner):
            assert busy.poll() is None
            time.sleep(0.02)
        return owner, busy

    for _ in range(4):
        owners = dict(started() for _ in range(4))
        for owner, busy in owners.items():
            time.sleep(random.uniform(0, 0.6))
            assert busy.poll() is None, owner
            busy.kill()
            busy.communicate()
        time.sleep(2)
        assert {owner: labelled(docker_engine, owner) for owner in owners} == {owner: [] for owner in owners}

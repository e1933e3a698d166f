"""Looks into containers, and for those that are left."""

from __future__ import annotations

import docker

from pytest_hermes.sandbox.docker.owner import LABEL
from pytest_hermes.sandbox.protocol import Sandbox


async def output(sandbox: Sandbox, command: str, *, cwd: str | None = None) -> str:
    """Return what a command that succeeds writes."""
    result = await sandbox.exec(command, cwd=cwd)
    assert result.exit_code == 0, result
    return result.stdout.decode()


def labelled(docker_engine: docker.APIClient, owner: str | None = None) -> list[str]:
    """Return the containers of an owner, or of all."""
    wanted = LABEL if owner is None else f"{LABEL}={owner}"
    return [container["Id"] for container in docker_engine.containers(all=True, filters={"label": wanted})]

"""Removes containers by whose they are; as a program, those of a process that has died.

A running container ends by itself when its owner does, and is still there then. One that is paused, or was not started
yet, cannot even end. So somebody must come after them: this program outlives its owner for a moment. Standard input is
a pipe that the owner holds: its end without a byte is the owner's sudden death.

    python -m pytest_hermes.sandbox.docker.reap OWNER
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from .owner import LABEL

if TYPE_CHECKING:
    from docker import APIClient

#: Seconds to go on looking, for what the engine was still making, and to pause between two looks.
_PATIENCE = 1.5
_PAUSE = 0.1

#: How long ago a container ended that nobody needs any more.
_FORGOTTEN = timedelta(days=1)


def remove_containers(client: APIClient, of: Callable[[str], bool]) -> int:
    """Remove the containers, in whatever state, whose owner `of` is true for; return how many there were.

    Raises docker.errors.DockerException when the engine cannot be asked.
    """
    import docker.errors

    left = [
        container["Id"]
        for container in client.containers(all=True, filters={"label": LABEL})
        if of(container["Labels"].get(LABEL, ""))
    ]
    for container in left:
        # Another may be at it as well, or the engine itself.
        with contextlib.suppress(docker.errors.APIError):
            client.remove_container(container, force=True, v=True)
    return len(left)


def remove_ended(client: APIClient) -> int:
    """Remove the containers that ended a day ago or earlier, whoever owned them; return how many there were.

    Nobody can tell whether owners on other machines, or before a restart of this one, have died. Raises
    docker.errors.DockerException when the engine cannot be asked.
    """
    import docker.errors

    now = datetime.fromisoformat(client.info()["SystemTime"])
    count = 0
    for container in client.containers(all=True, filters={"label": LABEL, "status": "exited"}):
        # Another may be at it as well.
        with contextlib.suppress(docker.errors.APIError):
            ended = datetime.fromisoformat(client.inspect_container(container["Id"])["State"]["FinishedAt"])
            if now - ended > _FORGOTTEN:
                client.remove_container(container["Id"], v=True)
                count += 1
    return count


def main() -> None:
    if sys.stdin.buffer.read(1):
        return  # the owner has ended in order
    # Not before: it is of no use to most runs.
    import docker.errors
    import requests

    from .address import engine_address

    client = engine_address().client()
    try:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            # An engine that is busy may be asked again.
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                remove_containers(client, lambda owner: owner == sys.argv[1])
            time.sleep(_PAUSE)
    finally:
        client.close()


if __name__ == "__main__":
    main()

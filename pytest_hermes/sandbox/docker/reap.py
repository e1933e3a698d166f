"""Removes containers by whose they are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from .owner import LABEL

if TYPE_CHECKING:
    from docker import APIClient


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

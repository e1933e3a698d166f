"""A process that outlives its owner for a moment, to remove the containers that were left.

A running container ends by itself when its owner does. One that was made and not started yet cannot, so somebody must
come after it. Standard input is a pipe that the owner holds: its end without a byte is the owner's sudden death.

    python -m pytest_hermes.sandbox.docker.reaper OWNER
"""

from __future__ import annotations

import contextlib
import sys
import time

#: Seconds to go on looking, for what the engine was still making, and to pause between two looks.
_PATIENCE = 1.5
_PAUSE = 0.1


def main() -> None:
    if sys.stdin.buffer.read(1):
        return  # the owner has ended in order
    # Not before: it is of no use to most runs.
    import docker.errors
    import requests

    from .address import engine_address
    from .reap import remove_containers

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

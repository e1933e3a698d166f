"""The work of `docker_run.py` without any harness: the engine's HTTP API, with an exec for each command.

DOCKER_HOST=unix://… IMAGE=… python tests/performance/bare_docker.py BASE_URL TASKS IN_FLIGHT VERIFY
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.performance.bare_loop import Run, main
else:
    from bare_loop import Run, main

SOCKET = os.environ["DOCKER_HOST"].removeprefix("unix://")


class Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


def ask(method: str, path: str, body: Any = None) -> bytes:
    connection = Connection("docker")
    connection.request(method, path, json.dumps(body or {}), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status >= 400:
        sys.exit(f"{method} {path}: {content!r}")
    return content


def run(container: str, command: str) -> tuple[str, int | None]:
    body = {"AttachStdout": True, "AttachStderr": True, "Cmd": ["bash", "-c", command]}
    exec_id = json.loads(ask("POST", f"/containers/{container}/exec", body))["Id"]
    framed = ask("POST", f"/exec/{exec_id}/start", {"Detach": False, "Tty": False})
    output = b""
    while framed:
        size = int.from_bytes(framed[4:8], "big")
        output, framed = output + framed[8 : 8 + size], framed[8 + size :]
    return output.decode(errors="replace"), json.loads(ask("GET", f"/exec/{exec_id}/json"))["ExitCode"]


def start() -> str:
    body = {"Image": os.environ["IMAGE"], "Cmd": ["sleep", "1000"], "WorkingDir": "/tmp", "HostConfig": {"Init": True}}
    container = str(json.loads(ask("POST", "/containers/create", body))["Id"])
    ask("POST", f"/containers/{container}/start")
    return container


@asynccontextmanager
async def container() -> AsyncIterator[Run]:
    """A container of the engine."""
    made = await asyncio.to_thread(start)
    try:
        yield lambda command: asyncio.to_thread(run, made, command)
    finally:
        await asyncio.to_thread(ask, "DELETE", f"/containers/{made}?force=1&v=1")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], container))

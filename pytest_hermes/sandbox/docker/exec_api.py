"""Execs of the engine, which run what is in a container: made, watched, asked about."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from ...errors import SandboxBroken, SandboxLost
from ..output import HeadTail
from .engine import Engine

#: Exit code of what was killed.
KILLED = 137

#: Seconds.
_PAUSE = 0.01
_PATIENCE = 10.0
_LOOK_PATIENCE = 2.0
_NOTICE_PATIENCE = 0.5


class ContainerGone(SandboxLost):
    """Somebody ended or removed the container, or nobody knows why it ended."""


class OutOfControl(SandboxBroken):
    """What runs in a container cannot be ended there any more."""


class ContainerDied(SandboxBroken):
    """The container ended because of what ran in it."""


def create_exec(engine: Engine, container: str, argv: list[str], **options: Any) -> str:
    """Return the id of a new exec; `options` are the SDK's. Raises ContainerGone."""
    import docker.errors

    try:
        # Not in the container's own working directory: it may be gone by now, and nothing would start there.
        return str(engine.client.exec_create(container, argv, workdir="/", **options)["Id"])
    except docker.errors.NotFound as error:
        raise container_gone(engine, container) from error
    except docker.errors.APIError as error:
        if error.status_code == 409:
            check_present(engine, container)  # or somebody has paused it
        raise


async def run_plainly(
    engine: Engine, container: str, argv: list[str], *, user: str, timeout: float
) -> tuple[int | None, str]:
    """Run what leaves nothing in the background, without a wrapper; return its exit code and what it said.

    The code is None when it has not ended within `timeout` seconds. Unlike a wrapped command, it works where no process
    can be forked any more.
    """
    said = HeadTail(1000)
    exec_id = await engine.call(create_exec, engine, container, argv, stdin=False, user=user)
    start = {"Detach": False, "Tty": False}
    stream = await engine.stream(f"/exec/{exec_id}/start", start, stdout=said.feed, stderr=said.feed)
    try:
        ended, _ = await asyncio.wait([stream.ended], timeout=timeout)
        code = await engine.call(exit_code, engine, container, exec_id) if ended else None
    finally:
        stream.close()
    return code, said.value().decode(errors="replace")


def is_about_the_shell(said: str) -> bool:
    """Whether an engine, or the loader, says that it cannot run the container's shell."""
    return "/bin/sh" in said


def exit_code(engine: Engine, container: str, exec_id: str) -> int | None:
    """Return the exit code of an exec whose stream has ended, None when it still runs. Raises ContainerGone."""
    import docker.errors

    end = time.monotonic() + _PATIENCE
    try:
        while (said := engine.client.exec_inspect(exec_id))["Running"] and time.monotonic() < end:
            time.sleep(_PAUSE)
    except docker.errors.NotFound as error:
        raise container_gone(engine, container) from error
    if said["ExitCode"] == 0:
        return 0
    # It was killed along with its wrapper, and perhaps with all else.
    wait_for_end(engine, container)
    return None if said["Running"] else int(KILLED if said["ExitCode"] is None else said["ExitCode"])


def wait_for_start(engine: Engine, exec_id: str) -> bool:
    """Return whether an exec runs whose start may be on its way, or may never have reached the engine."""
    import docker.errors

    end = time.monotonic() + _LOOK_PATIENCE
    with contextlib.suppress(docker.errors.NotFound):
        while True:
            said = engine.client.exec_inspect(exec_id)
            if said["Pid"] or time.monotonic() > end:
                return bool(said["Running"])
            time.sleep(_PAUSE)
    return False


def wait_for_end(engine: Engine, container: str) -> None:
    """Raise ContainerGone as soon as a container does not run, which the engine may not have noticed yet.

    Returns when it has not ended within half a second.
    """
    end = time.monotonic() + _NOTICE_PATIENCE
    while time.monotonic() < end:
        check_present(engine, container)
        time.sleep(_PAUSE)


def check_present(engine: Engine, container: str, *, running: bool = True) -> None:
    """Raise ContainerGone unless the container is there, and runs or is paused if it is to be `running`."""
    import docker.errors

    try:
        state = engine.client.inspect_container(container)["State"]
    except docker.errors.NotFound as error:
        raise container_gone(engine, container) from error
    if running and not state["Running"]:
        raise container_gone(engine, container)


def container_gone(engine: Engine, container: str) -> ContainerGone | ContainerDied:
    """Return what to raise for a container that does not run any more, or is not there."""
    import docker.errors

    try:
        state = engine.client.inspect_container(container)["State"]
    except docker.errors.NotFound:
        return ContainerGone("the sandbox has died: its container was removed")
    if state["Running"]:
        return ContainerGone("the sandbox has died: its container was started anew")
    if not engine.deaths.by_itself(container):
        return ContainerGone("the sandbox has died: its container was ended from outside")
    why = "ran out of memory" if state.get("OOMKilled") else "was ended by what ran in it"
    return ContainerDied(f"the sandbox has died: its container {why}")

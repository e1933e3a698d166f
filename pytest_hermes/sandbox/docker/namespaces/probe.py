"""Whether commands can have folders of their own in an engine's containers: tried out once, in the first of them."""

from __future__ import annotations

import asyncio
import os
import sys

from ....errors import InfrastructureError, SandboxBroken
from ...output import HeadTail
from ...running import run_to_end
from ..engine import Engine
from ..single_flight import SingleFlight
from .command import PrivateCommand
from .container import Confinement, OutOfReach, find_confinement, find_container

_TIMEOUT = 60.0  # seconds

_TRIAL = 'echo kept >"$1/file" && read -r word <"$1/file" && echo "$word"'

#: Times that a container that ends meanwhile is replaced by that of another who wants to know.
_TRIES = 3

_found: SingleFlight[Confinement | str] = SingleFlight("hermes-namespaces")


async def confinement_of(engine: Engine, container: str, folder: str, options: str) -> Confinement | str:
    """Return how the containers of an engine are confined, or why commands cannot have folders of their own there.

    `container` is one in which nothing of an agent has run, with an empty `folder`; `options` tells apart containers
    that are made in different ways.
    """
    for left in reversed(range(_TRIES)):
        try:
            return await _found.result(
                (engine.address.url, options), lambda: asyncio.run(_try_out(engine, container, folder))
            )
        except InfrastructureError:
            if not left:
                raise
    raise AssertionError("not reached")


async def _try_out(engine: Engine, container: str, folder: str) -> Confinement | str:
    if sys.platform != "linux":
        return "this needs Linux"
    if os.geteuid() != 0:
        return "this process does not run as root"
    stdout, stderr = HeadTail(1000), HeadTail(1000)
    try:
        found = await engine.call(find_container, engine, container)
        confinement = await engine.call(find_confinement, found.init)
        command = PrivateCommand(engine, container, stdout, stderr)
        argv = ["/bin/sh", "-c", _TRIAL, "sh", folder]
        await command.start(confinement, [folder], argv, cwd="/", env={}, stdin=b"", user="")
        result = await run_to_end(command, stdout, stderr, _TIMEOUT)
        await command.kill()
    except (OutOfReach, SandboxBroken) as error:
        return str(error)
    if result.stdout == b"kept\n":
        return confinement
    return f"a trial failed: {(stderr.value() or stdout.value()).decode(errors='replace').strip() or result.exit_code}"

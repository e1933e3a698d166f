"""Containers: made within limits, started, removed. All of this blocks, for `Engine.call`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from ...core.one_line import first_line
from ...errors import HermesError, InfrastructureError, Unsupported
from ...task import SandboxSpec
from .engine import Engine, EngineFacts
from .exec_api import container_gone
from .images import ImageGone

#: Processes and threads of a container, unless the task says otherwise: a fork bomb must not take the machine along.
DEFAULT_PIDS = 4096

#: Seconds.
_REMOVAL_TIMEOUT = 30.0
_REMOVAL_PAUSE = 0.02

_logger = logging.getLogger(__name__)


def check_needs(spec: SandboxSpec, facts: EngineFacts) -> None:
    """Raise Unsupported for what an engine's machine does not have."""
    if spec.cpus is not None and spec.cpus > facts.cpus:
        raise Unsupported(f"the task needs {spec.cpus:g} cpus, the machine of this Docker engine has {facts.cpus}")
    if spec.memory_bytes is not None and spec.memory_bytes > facts.memory > 0:
        raise Unsupported(
            f"the task needs {spec.memory_bytes >> 20} MiB of memory, "
            f"the machine of this Docker engine has {facts.memory >> 20} MiB"
        )


def limited(spec: SandboxSpec, facts: EngineFacts) -> dict[str, Any]:
    """Return the host configuration of a sandbox's limits, as far as the engine can hold them.

    Those it cannot are left out, and logged.
    """
    wanted: dict[str, dict[str, Any]] = {}
    if spec.cpus is not None:
        wanted["cpus"] = {"nano_cpus": int(spec.cpus * 1e9)}
    if spec.memory_bytes is not None:
        # Without room in the swap, or twice as much could be used.
        wanted["memory"] = {"mem_limit": spec.memory_bytes, "memswap_limit": spec.memory_bytes}
    if spec.storage_bytes is not None:
        wanted["storage"] = {"storage_opt": {"size": str(spec.storage_bytes)}}
    wanted["pids"] = {"pids_limit": spec.pids or DEFAULT_PIDS}
    chosen: dict[str, Any] = {}
    for name, options in wanted.items():
        if facts.limits[name]:
            chosen.update(options)
        elif name != "pids" or spec.pids is not None:
            _logger.warning("this Docker engine cannot limit %s: the task runs without that limit", name)
    return chosen


def create_container(
    engine: Engine, config: Mapping[str, Any], host: Mapping[str, Any], optional: Mapping[str, Any]
) -> str:
    """Return the id of a new container; what the engine cannot do of `optional` is left out.

    Raises ImageGone when its image is.
    """
    import docker.errors

    client = engine.client

    def create(host: Mapping[str, Any]) -> str:
        return str(client.create_container(**config, host_config=client.create_host_config(**host))["Id"])

    try:
        try:
            return create({**optional, **host})
        except docker.errors.APIError as error:
            if "storage_opt" not in optional or "storage_opt" in host or "storage-opt" not in str(error.explanation):
                raise
            # Nothing that the engine says of itself tells before whether the file system has quotas.
            _logger.warning("this Docker engine cannot limit storage: the task runs without that limit")
            return create({**{name: value for name, value in optional.items() if name != "storage_opt"}, **host})
    except docker.errors.ImageNotFound as error:
        raise ImageGone(f"an image is no longer there: {first_line(str(error.explanation))}", kind="image") from error
    except (TypeError, ValueError) as error:  # what the SDK says of options that are none
        raise InfrastructureError(f"a container cannot be made with these options: {error}", kind="sandbox") from error


class NotStarted(Exception):
    """A container did not start; the text is what its engine or its main process says."""


def start_container(engine: Engine, container: str) -> None:
    """Start a container. Raises NotStarted."""
    import docker.errors

    engine.deaths.watch(container)
    try:
        engine.client.start(container)
    except docker.errors.APIError as error:
        raise NotStarted(str(error.explanation)) from error


def cannot_start(why: str, image: str) -> HermesError:
    """Return what to raise for a container that did not start; `why` are the words of the engine, or of its init."""
    if "exec format error" in why.lower():
        return Unsupported(f"the image {image} is built for a different architecture than that of this Docker engine")
    if '"/bin/sh"' in why or "exec /bin/sh failed" in why:
        return InfrastructureError(
            f"the image {image} has no shell (/bin/sh), which every sandbox needs; use another", kind="image"
        )
    why = first_line(why) or "its shell did not answer"
    return InfrastructureError(f"a container cannot be started: {why}", kind="sandbox")


def stop_container(engine: Engine, container: str) -> None:
    """End all that runs in a container, its main process too; the files stay. Raises ContainerGone."""
    import docker.errors

    try:
        engine.client.stop(container, timeout=0)
    except docker.errors.NotFound as error:
        raise container_gone(engine, container) from error


def remove_container(engine: Engine, container: str) -> None:
    """Remove a container, and return when it is gone."""
    import docker.errors

    client = engine.client
    engine.deaths.forget(container)
    try:
        client.remove_container(container, force=True, v=True)
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as error:
        if error.status_code != 409:  # somebody is at it already
            raise
        end = time.monotonic() + _REMOVAL_TIMEOUT
        while time.monotonic() < end:
            try:
                client.inspect_container(container)
            except docker.errors.NotFound:
                return
            time.sleep(_REMOVAL_PAUSE)
        raise

"""Further options of `docker run`, as a user adds them to every container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...core.suggest import unknown
from ...errors import UsageError

#: Those that are not the host's but the container's own.
_OF_CONTAINER = frozenset({"hostname", "platform", "user"})

#: What decides over the life of a container is the sandbox's.
_NOT_THEIRS = frozenset({"auto_remove", "init", "links", "lxc_conf", "port_bindings", "restart_policy", "version"})

#: Of the engine's API, to check options by before there is an engine.
_API_VERSION = "1.41"


@dataclass(frozen=True)
class RunOptions:
    """Options by the names that the docker SDK's `containers.run` gives them."""

    container: Mapping[str, Any] = field(default_factory=dict)
    host: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> RunOptions:
        """Tell the options apart. Raises UsageError for one that does not exist or is not the user's to set."""
        if not options:
            return cls()
        from docker.errors import DockerException
        from docker.models.containers import RUN_HOST_CONFIG_KWARGS
        from docker.types import HostConfig

        of_host = {*RUN_HOST_CONFIG_KWARGS, "volumes"} - _NOT_THEIRS - _OF_CONTAINER
        for name in options:
            if name not in of_host and name not in _OF_CONTAINER:
                raise UsageError(unknown("docker option", str(name), of_host | _OF_CONTAINER))
        container = {name: value for name, value in options.items() if name in _OF_CONTAINER}
        host = {name: value for name, value in options.items() if name in of_host}
        if "volumes" in host:
            host["binds"] = host.pop("volumes")
        try:
            HostConfig(version=_API_VERSION, **host)
        except (DockerException, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"these docker options do not fit: {error}") from error
        return cls(container, host)

"""From a configuration to the parts of a rollout; what does not exist is told with the place that names it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..config.fields import EnvConfig, Network
from ..config.settings import Config, Layer, Origin
from ..errors import UsageError
from ..models.embedded import EMBEDDED
from ..sandbox.choice import SandboxChoice
from ..tools.tool import Tool
from ..tools.toolsets import resolve_toolsets

#: The option that sets any field: unlike the others its name does not tell which.
_ANY_FIELD = "--hermes-set"


@contextmanager
def blame(config: Config, *keys: str) -> Iterator[None]:
    """Let a UsageError begin with where the values of `keys` come from, unless its reader has just typed it."""
    try:
        yield
    except UsageError as error:
        raise UsageError(": ".join([*_places(config.origin(key) for key in keys), str(error)])) from None


def _places(origins: Iterable[Origin]) -> list[str]:
    places = [
        str(origin)
        for origin in origins
        if origin.layer is not Layer.DEFAULT and not (origin.source.startswith("--") and origin.source != _ANY_FIELD)
    ]
    return [", ".join(dict.fromkeys(places))] if places else []


def endpoint_of(config: Config) -> str | None:
    """Return the base URL that was set, None where it was set for another model than the one that answers."""
    model, url = (config.origin(f"openai.{name}").layer for name in ("model_name", "base_url"))
    if config.openai.model_name in EMBEDDED and model > url:
        return None
    return config.openai.base_url


def tools_of(config: Config) -> tuple[Tool, ...]:
    """Return what an agent may call. Raises UsageError for toolsets that do not exist."""
    with blame(config, "env.enabled_toolsets", "env.disabled_toolsets"):
        return tuple(resolve_toolsets(config.env.enabled_toolsets, config.env.disabled_toolsets))


def sandbox_of(config: Config) -> SandboxChoice:
    """Return where commands run. Raises UsageError for a backend that does not exist or cannot do what is asked."""
    choice = sandbox_choice(config.env)
    with blame(config, "env.terminal_backend", "env.terminal_image", "env.terminal_options"):
        choice.check()
    return choice


def sandbox_choice(env: EnvConfig) -> SandboxChoice:
    """Return where commands run, unchecked."""
    return SandboxChoice(
        backend=env.terminal_backend,
        image=env.terminal_image,
        network=False if env.terminal_network is Network.NONE else None,
        options=env.terminal_options or {},
    )

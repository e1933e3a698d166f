"""The sessions of attempts, as a configuration makes them."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator

from ..config.fields import EnvConfig, Network
from ..sandbox.choice import SandboxChoice
from ..sandbox.protocol import Sandbox
from ..task import SandboxSpec
from ..tools.session import SandboxSession


def sandbox_choice(env: EnvConfig) -> SandboxChoice:
    """Return where commands run, unchecked."""
    return SandboxChoice(
        backend=env.terminal_backend,
        image=env.terminal_image,
        network=False if env.terminal_network is Network.NONE else None,
        options=env.terminal_options or {},
    )


def attempt_session(env: EnvConfig, key: str, spec: Callable[[], Awaitable[SandboxSpec]]) -> SandboxSession:
    """Return the sandbox session of the attempt `key`. `spec` is called when a sandbox is needed."""
    sandboxes, names = sandbox_choice(env), _distinct(key)

    async def make() -> Sandbox:
        return sandboxes.make(await spec(), name=next(names))

    return SandboxSession(make, backend=env.terminal_backend, terminal_timeout=env.terminal_timeout)


def _distinct(key: str) -> Iterator[str]:
    """Yield names for the sandboxes of one attempt: the key itself first."""
    yield key
    for number in itertools.count(2):
        yield f"{key}+{number}"

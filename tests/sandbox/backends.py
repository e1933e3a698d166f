"""The backends that the shared contract is held against: a later one adds a line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from pytest_hermes.sandbox import bubblewrap
from pytest_hermes.sandbox.docker.sandbox import DockerSandbox
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.sandbox.protocol import Sandbox
from pytest_hermes.task import SandboxSpec
from tests.services.required import container_image, docker_problem, require


def docker_sandbox(spec: SandboxSpec, *, name: str, **more: Any) -> Sandbox:
    """A container of the tests' image, unless the spec asks for another."""
    if spec.image is None and spec.build_context is None:
        spec = replace(spec, image=container_image())
    return DockerSandbox(spec, name=name, **more)


BACKENDS: dict[str, Callable[..., Sandbox]] = {
    "local": partial(LocalSandbox, isolation="none"),
    "bubblewrap": partial(LocalSandbox, isolation="bubblewrap"),
    "docker": docker_sandbox,
}

#: Why a backend cannot be used here, or None.
PROBLEMS: dict[str, Callable[[], str | None]] = {
    "bubblewrap": lambda: bubblewrap.probe().problem,
    "docker": docker_problem,
}


def need(backend: str) -> None:
    """Skip the test where the backend does not work, or fail it if HERMES_REQUIRE names the backend."""
    require(backend, PROBLEMS[backend]() if backend in PROBLEMS else None)


@asynccontextmanager
async def opened(backend: str, **spec: Any) -> AsyncIterator[Sandbox]:
    """A started sandbox of a backend, closed at the end."""
    need(backend)
    sandbox = BACKENDS[backend](SandboxSpec(**spec), name="test")
    try:
        await sandbox.start()
        yield sandbox
    finally:
        await sandbox.close()

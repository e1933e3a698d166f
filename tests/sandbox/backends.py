"""The backends that the shared contract is held against: a later one adds a line."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest

from pytest_hermes.errors import UsageError
from pytest_hermes.sandbox import bubblewrap
from pytest_hermes.sandbox.docker.sandbox import DockerSandbox
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.sandbox.protocol import Sandbox
from pytest_hermes.task import SandboxSpec

#: Names the image that the tests' containers are made from. It must have bash, coreutils or busybox, and tar.
IMAGE_VARIABLE = "HERMES_TEST_IMAGE"


def docker_problem() -> str | None:
    """Why containers cannot be used here."""
    if not os.environ.get(IMAGE_VARIABLE):
        return f"{IMAGE_VARIABLE} names no image; .ci/services starts an engine and makes one"
    try:
        DockerSandbox.describe()
    except UsageError as error:
        return str(error)
    return None


def docker_sandbox(spec: SandboxSpec, *, name: str) -> Sandbox:
    """A container of the tests' image, unless the spec asks for another."""
    if spec.image is None and spec.build_context is None:
        spec = replace(spec, image=os.environ[IMAGE_VARIABLE])
    return DockerSandbox(spec, name=name)


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
    problem = PROBLEMS[backend]() if backend in PROBLEMS else None
    if problem is None:
        return
    if backend in os.environ.get("HERMES_REQUIRE", "").split(","):
        pytest.fail(f"{backend} is required: {problem}")
    pytest.skip(problem)


@asynccontextmanager
async def opened(backend: str, **spec: object) -> AsyncIterator[Sandbox]:
    """A started sandbox of a backend, closed at the end."""
    need(backend)
    sandbox = BACKENDS[backend](SandboxSpec(**spec), name="test")
    try:
        await sandbox.start()
        yield sandbox
    finally:
        await sandbox.close()

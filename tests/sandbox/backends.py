"""The backends that the shared contract is held against: a later one adds a line."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from pytest_hermes.sandbox import bubblewrap
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.sandbox.protocol import Sandbox
from pytest_hermes.task import SandboxSpec

BACKENDS: dict[str, Callable[..., Sandbox]] = {
    "local": partial(LocalSandbox, isolation="none"),
    "bubblewrap": partial(LocalSandbox, isolation="bubblewrap"),
}

#: Why a backend cannot be used here, or None.
PROBLEMS: dict[str, Callable[[], str | None]] = {
    "bubblewrap": lambda: bubblewrap.probe().problem,
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

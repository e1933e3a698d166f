from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from pytest_hermes.sandbox.local import Isolation, LocalSandbox
from pytest_hermes.task import SandboxSpec
from pytest_hermes.tools.place import Place

ISOLATIONS: list[Isolation] = ["none", *(["bubblewrap"] if shutil.which("bwrap") else [])]  # type: ignore[list-item]


def local_place(isolation: Isolation = "none", **settings: Any) -> Place:
    return Place(lambda: LocalSandbox(SandboxSpec(), name="test", isolation=isolation), backend="local", **settings)


@pytest_asyncio.fixture(params=ISOLATIONS)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """A place in a real local sandbox, with bubblewrap and without."""
    place = local_place(request.param)
    yield place
    await place.close()


@pytest_asyncio.fixture
async def plain_place() -> AsyncIterator[Place]:
    """A place without isolation, for what does not depend on it."""
    place = local_place()
    yield place
    await place.close()

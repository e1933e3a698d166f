from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from pytest_hermes.sandbox.local import Isolation, LocalSandbox
from pytest_hermes.task import SandboxSpec
from pytest_hermes.tools.session import SandboxSession

ISOLATIONS: list[Isolation] = ["none", *(["bubblewrap"] if shutil.which("bwrap") else [])]  # type: ignore[list-item]


def local_session(isolation: Isolation = "none", **settings: Any) -> SandboxSession:
    return SandboxSession(
        lambda: LocalSandbox(SandboxSpec(), name="test", isolation=isolation), backend="local", **settings
    )


@pytest_asyncio.fixture(params=ISOLATIONS)
async def session(request: pytest.FixtureRequest) -> AsyncIterator[SandboxSession]:
    """A session in a real local sandbox, with bubblewrap and without."""
    session = local_session(request.param)
    yield session
    await session.close()


@pytest_asyncio.fixture
async def plain_session() -> AsyncIterator[SandboxSession]:
    """A session without isolation, for what does not depend on it."""
    session = local_session()
    yield session
    await session.close()

"""The real services that the tests talk to. Fixtures only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.bench import Bench
from tests.services.model_server import ModelServer
from tests.services.required import container_image, docker_problem, require

pytest_plugins = ["pytester"]


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    """An OpenAI-compatible endpoint on loopback that answers by script."""
    server = ModelServer()
    yield server
    server.close()


@pytest.fixture
def docker_image() -> str:
    """The image that containers are made from here; without an engine, the test is skipped."""
    require("docker", docker_problem())
    return container_image()


@pytest.fixture
def bench(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A user's empty folder in which pytest runs as a process of its own, without any key in the environment."""
    bench = Bench(pytester, monkeypatch)
    yield bench
    bench.close()

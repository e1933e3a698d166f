"""The real services that the tests talk to, as fixtures."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.services import run_api as run_api_service
from tests.services.bench import Bench, import_what_runs_need
from tests.services.model_server import ModelServer
from tests.services.required import container_image, docker_problem, require
from tests.services.run_api import RunApi, Trainer

if TYPE_CHECKING:
    import docker

pytest_plugins = ["pytester"]

_TESTS = Path(__file__).parent / "tests"
#: For one test on a busy machine.
_SECONDS = 300


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return what `-n auto` means here: the tests wait for other processes for a good part of their time."""
    return 2 * (os.cpu_count() or 1)


def pytest_configure() -> None:
    """Let no test of hypothesis fail for being slow on a busy machine. Benchmarks run here without it."""
    if importlib.util.find_spec("hypothesis") is not None:
        import hypothesis

        hypothesis.settings.register_profile("unhurried", hypothesis.settings(deadline=None))
        hypothesis.settings.load_profile("unhurried")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """End a test that hangs: one that runs pytest in its own process would hold up all that come after it."""
    if config.pluginmanager.hasplugin("timeout"):
        for item in items:
            if item.path.is_relative_to(_TESTS):
                item.add_marker(pytest.mark.timeout(_SECONDS))


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
def docker_engine(docker_image: str) -> Iterator[docker.APIClient]:
    """A client of the engine that the tests' containers run on."""
    import docker

    client = docker.APIClient(version="auto", base_url=os.environ["DOCKER_HOST"])
    yield client
    client.close()


@pytest.fixture(scope="session")
def imported() -> None:
    """What runs need is imported before pytester looks which modules there are."""
    import_what_runs_need()


@pytest.fixture
def bench(imported: None, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A user's empty folder in which pytest runs as a process of its own, without any key in the environment."""
    bench = Bench(pytester, monkeypatch)
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def atropos() -> None:
    """For tests that need atroposlib."""
    require("atropos", run_api_service.problem())


@pytest.fixture
def run_api(atropos: None, tmp_path: Path) -> Iterator[RunApi]:
    """The real run-api of atroposlib."""
    api = RunApi(tmp_path / "run-api.log")
    yield api
    api.close()


@pytest.fixture
def trainer(run_api: RunApi) -> Iterator[Callable[..., Trainer]]:
    """Starts a small trainer at the run-api."""
    started: list[Trainer] = []

    def start(**settings: int) -> Trainer:
        started.append(Trainer(run_api, **settings))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="session")
def tokenizer_folder(atropos: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer that was trained here, with a ChatML template."""
    return run_api_service.make_tokenizer(tmp_path_factory.mktemp("tokenizer"))

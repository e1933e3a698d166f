"""Where the engine is: as the Docker CLI finds it, and on the way there."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from pytest_hermes.errors import InfrastructureError, UsageError
from pytest_hermes.sandbox.docker.address import engine_address
from pytest_hermes.sandbox.docker.sandbox import DockerSandbox
from pytest_hermes.task import SandboxSpec
from tests.services.engine_proxy import EngineProxy, make_certificate


@pytest.fixture(autouse=True)
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the Docker CLI's configuration, empty."""
    folder = tmp_path / "cli"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("unix:///run/mine.sock", "unix:///run/mine.sock"),
        ("tcp://10.1.2.3:2375", "tcp://10.1.2.3:2375"),
        ("http://box:2375", "tcp://box:2375"),
        ("", "unix:///var/run/docker.sock"),
    ],
)
def test_what_the_environment_names(given: str, url: str) -> None:
    address = engine_address({"DOCKER_HOST": given})
    assert (address.url, address.encryption, address.can_half_close) == (url, None, True)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("ssh://me@box", r"DOCKER_HOST is ssh://…, which is not supported; forward that engine's socket .*ssh -L"),
        ("npipe:////./pipe/docker", "DOCKER_HOST is npipe://…, which is not supported; set DOCKER_HOST to a Unix"),
        ("nonsense://x", "DOCKER_HOST cannot be used: "),
    ],
)
def test_what_cannot_be_used(given: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        engine_address({"DOCKER_HOST": given})


def test_the_current_context_of_the_docker_cli(cli: Path) -> None:
    folder = cli / "contexts" / "meta" / hashlib.sha256(b"box").hexdigest()
    folder.mkdir(parents=True)
    endpoints = {"docker": {"Host": "unix:///run/box.sock", "SkipTLSVerify": False}}
    (folder / "meta.json").write_text(json.dumps({"Name": "box", "Metadata": {}, "Endpoints": endpoints}))
    (cli / "config.json").write_text(json.dumps({"currentContext": "box"}))
    assert engine_address({"NOTHING": "else"}).url == "unix:///run/box.sock"
    assert engine_address({"DOCKER_HOST": "unix:///other.sock"}).url == "unix:///other.sock"


@pytest.mark.asyncio
@pytest.mark.parametrize("encrypted", [False, True])
async def test_an_engine_of_another_machine(
    encrypted: bool, docker_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.environ["DOCKER_HOST"].removeprefix("unix://")
    if encrypted:
        make_certificate(tmp_path)
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    # What is set for the rest of the world has no say in the way to an engine.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", __file__)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    proxy = EngineProxy(path, tmp_path if encrypted else None)
    sandbox = DockerSandbox(SandboxSpec(image=docker_image), name="far")
    try:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{proxy.port}")
        assert engine_address().can_half_close != encrypted
        await sandbox.start()
        data = os.urandom(300_000)
        result = await sandbox.exec("cat; echo end >&2; exit 5", stdin=data, timeout=20)
        assert (result.exit_code, result.stdout == data, result.stderr) == (5, True, b"end\n")
        assert (await sandbox.exec("sleep 60", timeout=0.2)).timed_out
    finally:
        await sandbox.close()
        proxy.close()
    with pytest.raises(InfrastructureError):
        await sandbox.exec("true")

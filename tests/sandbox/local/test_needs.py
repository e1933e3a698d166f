"""What a task may ask of the local sandbox, and what is told when it cannot be had."""

# ruff: noqa: ASYNC240 - nothing else runs on the loop

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from pytest_hermes.errors import InfrastructureError, Unsupported
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.task import SandboxSpec
from tests.sandbox.backends import opened

asynchronous = pytest.mark.asyncio


@asynchronous
@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (SandboxSpec(image="debian:12"), r"^the local sandbox cannot run image 'debian:12'; .*--hermes-sandbox=docker"),
        (SandboxSpec(build_context=Path("/x")), "cannot run an image built from a Dockerfile; .*=docker"),
        (SandboxSpec(cpus=10_000), r"needs 10000 cpus, this machine has \d+; .*=docker"),
        (SandboxSpec(memory="900t"), r"needs \d+ MiB of memory, this machine has \d+ MiB; .*=docker"),
        (SandboxSpec(network=False), "cannot cut off the network without bubblewrap; .*=docker"),
        (SandboxSpec(workdir="/not/there"), "workdir '/not/there' .*=docker"),
        (SandboxSpec(workdir="../../../nowhere"), "workdir '/nowhere' .*=docker"),
    ],
)
async def test_what_it_cannot_give_is_unsupported(spec: SandboxSpec, reason: str) -> None:
    sandbox = LocalSandbox(spec, name="test", isolation="none")
    with pytest.raises(Unsupported, match=reason) as caught:
        await sandbox.start()
    assert "\n" not in str(caught.value)
    assert not os.path.exists(sandbox.home)
    await sandbox.close()


@asynchronous
async def test_needs_that_this_machine_meets_are_no_obstacle(backend: str) -> None:
    async with opened(backend, cpus=0.5, memory="64m", network=True, workdir="a/b") as sandbox:
        assert sandbox.workdir == f"{sandbox.home}/a/b"
        assert (await sandbox.exec("pwd")).stdout.decode() == f"{sandbox.workdir}\n"
    async with opened(backend, workdir="/usr") as sandbox:
        assert (await sandbox.exec("pwd")).stdout == b"/usr\n"


@asynchronous
async def test_a_workdir_outside_of_home_is_made_where_that_is_safe() -> None:
    async with opened("bubblewrap", workdir="/tmp/new/work") as sandbox:
        assert (await sandbox.exec("pwd")).stdout == b"/tmp/new/work\n"
    assert not os.path.exists("/tmp/new/work")
    with pytest.raises(Unsupported, match=r"workdir '/usr/hermes-test/x' \(mkdir: .*\); use"):
        async with opened("bubblewrap", workdir="/usr/hermes-test/x"):
            pass


@asynchronous
async def test_the_hosts_variables_are_not_passed_on_but_a_few(backend: str) -> None:
    async with opened(backend, env={"MINE": "1"}) as sandbox:
        names = (await sandbox.exec(["env"])).stdout.decode().splitlines()
        assert sorted(line.split("=")[0] for line in names) == ["HOME", "LANG", "MINE", "PATH", "TERM"]


@asynchronous
async def test_a_folder_that_cannot_be_made_is_an_infrastructure_error(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(InfrastructureError, match=r"^a local sandbox cannot be started: .*No such file") as caught:
        async with opened(backend):
            pass
    assert caught.value.kind == "sandbox"

"""What only containers have: images, limits, options."""

# ruff: noqa: ASYNC230, ASYNC240 - nothing else runs on the loop

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from pytest_hermes.errors import InfrastructureError, Unsupported, UsageError
from pytest_hermes.sandbox.docker import images
from pytest_hermes.sandbox.docker.owner import current_owner
from pytest_hermes.sandbox.docker.run_options import RunOptions
from pytest_hermes.sandbox.docker.sandbox import DockerSandbox
from pytest_hermes.sandbox.docker.single_flight import SingleFlight
from pytest_hermes.sandbox.status import statuses
from pytest_hermes.task import SandboxSpec
from pytest_hermes.tools.dispatch import dispatch
from pytest_hermes.tools.file import TOOLSET as FILE_TOOLS
from pytest_hermes.tools.session import SandboxSession
from tests.services.registry import Registry

from .backends import BACKENDS, opened
from .containers import labelled, output

asynchronous = pytest.mark.asyncio
pytestmark = pytest.mark.usefixtures("docker_image")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def context(tmp_path: Path, docker_image: str) -> Path:
    """A build context whose image differs from all others."""
    folder = tmp_path / f"Some Task {secrets.token_hex(4)}" / "environment"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(
        f"FROM {docker_image}\nRUN echo {secrets.token_hex(8)} >/made && rm /bin/bash\nWORKDIR /app\nENV FROM_IMAGE=1\n"
    )
    return folder


def image_of(context: Path) -> str:
    return "pytest-hermes/" + context.parent.name.lower().replace(" ", "-")


# Images


@asynchronous
async def test_an_image_is_built_once_for_all_who_wait(context: Path, docker_engine: docker.APIClient) -> None:
    since = time.time()
    spec = SandboxSpec(image="127.0.0.1:9/there-is-none:1", build_context=context, workdir=None)
    sandboxes = [DockerSandbox(spec, name=f"build {number}") for number in range(4)]
    try:
        await asyncio.gather(*(sandbox.start() for sandbox in sandboxes))
        assert [sandbox.workdir for sandbox in sandboxes] == ["/app"] * 4
        assert await output(sandboxes[0], "cat /made; echo $FROM_IMAGE") == await output(
            sandboxes[3], "cat /made; echo $FROM_IMAGE"
        )
    finally:
        for sandbox in sandboxes:
            await sandbox.close()
    events = list(
        docker_engine.events(since=int(since), until=int(time.time()) + 1, decode=True, filters={"event": "tag"})
    )
    # Other tests may use the engine meanwhile.
    tagged = [event["Actor"]["Attributes"]["name"].partition(":")[0] for event in events]
    assert tagged.count(image_of(context)) == 1


@asynchronous
async def test_a_build_is_forced_once_a_run(context: Path) -> None:
    async def built() -> str:
        sandbox = DockerSandbox(SandboxSpec(build_context=context, force_build=True), name="x")
        try:
            await sandbox.start()
            return await output(sandbox, "cat /when")
        finally:
            await sandbox.close()

    with open(context / "Dockerfile", "a") as file:
        file.write("RUN cat /proc/sys/kernel/random/uuid >/when\n")
    first = await built()
    with pytest.MonkeyPatch.context() as another_process:
        another_process.setattr(images, "_images", SingleFlight("x"))
        assert await built() == first
    with pytest.MonkeyPatch.context() as another_run:
        another_run.setattr(images, "_images", SingleFlight("x"))
        another_run.setattr(images, "_STARTED", time.time())
        assert await built() != first


@asynchronous
async def test_a_build_that_fails_shows_the_end_of_its_log(context: Path) -> None:
    with open(context / "Dockerfile", "a") as file:
        file.write("RUN echo before; echo the compiler is missing >&2; exit 3\n")
    spec = SandboxSpec(image="127.0.0.1:9/none:1", build_context=context)
    with pytest.raises(InfrastructureError) as e:
        await DockerSandbox(spec, name="x").start()
    assert e.value.kind == "image"
    # Whoever reads it should know what was tried first.
    pulled, _, built = str(e.value).partition("; and ")
    assert re.match(r"the image '127.0.0.1:9/none:1' is not on this Docker engine and cannot be pulled: .+", pulled)
    assert re.search(r"environment' cannot be built: .* \| the compiler is missing \| .* code: 3$", built)
    assert "\x1b" not in built
    assert "--->" not in built


@asynchronous
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SandboxSpec(image="127.0.0.1:9/none:1"), "image '127.0.0.1:9/none:1' is not on this Docker engine and cannot"),
        (SandboxSpec(image="No/Such Name"), "image 'No/Such Name' .* cannot be pulled: .*invalid reference format"),
        (SandboxSpec(build_context=Path("/nowhere")), "there is no Dockerfile in the build context '/nowhere'"),
    ],
)
async def test_an_image_that_cannot_be_had_is_named(spec: SandboxSpec, message: str) -> None:
    with pytest.raises(InfrastructureError, match=message) as e:
        await DockerSandbox(spec, name="x").start()
    assert e.value.kind == "image"


@pytest.fixture
def registry(docker_engine: docker.APIClient, docker_image: str) -> Iterator[Registry]:
    registry = Registry(docker_engine, docker_image)
    yield registry
    registry.close()
    for image in docker_engine.images(name=registry.repository):
        docker_engine.remove_image(image["Id"], force=True)


@asynchronous
async def test_images_are_pulled(registry: Registry) -> None:
    sandboxes = [DockerSandbox(SandboxSpec(image=f"{registry.repository}:good"), name="x") for _ in range(2)]
    starting = asyncio.gather(*(sandbox.start() for sandbox in sandboxes))
    shown: set[str] = set()
    while not starting.done():
        shown.update(statuses())
        await asyncio.sleep(0.001)
    try:
        await starting
        assert await output(sandboxes[1], "echo runs") == "runs\n"
    finally:
        for sandbox in sandboxes:
            await sandbox.close()
    assert {text.partition(" (")[0] for text in shown} == {f"pulling {registry.repository}:good"}
    assert statuses() == ()
    for tag, why in {"429": "toomanyrequests: the registry's reason", "other": "manifest unknown"}.items():
        with pytest.raises(InfrastructureError, match=rf"image '{registry.repository}:{tag}' .* be pulled: .*{why}"):
            await DockerSandbox(SandboxSpec(image=f"{registry.repository}:{tag}"), name="x").start()


@asynchronous
async def test_an_image_of_another_architecture_is_not_supported(docker_image: str, tmp_path: Path) -> None:
    program = bytearray(Path("/bin/busybox").read_bytes()[:4096])
    program[18:20] = (0xB7 if program[18] != 0xB7 else 0x3E).to_bytes(2, "little")  # e_machine: AArch64, or x86-64
    (tmp_path / "foreign").write_bytes(program)
    (tmp_path / "foreign").chmod(0o755)
    (tmp_path / "Dockerfile").write_text(f"FROM {docker_image}\nCOPY foreign /bin/busybox\n")
    sandbox = DockerSandbox(SandboxSpec(build_context=tmp_path), name="x")
    with pytest.raises(Unsupported, match="built for a different architecture than that of this Docker engine"):
        await sandbox.start()
    await sandbox.close()


@asynchronous
async def test_an_image_without_a_shell_is_said_to_have_none(docker_engine: docker.APIClient, tmp_path: Path) -> None:
    name = f"hermes-empty:{secrets.token_hex(4)}"
    empty = bytes(10240)  # a tar archive of nothing
    docker_engine.import_image_from_data(empty, repository=name.partition(":")[0], tag=name.partition(":")[2])
    with pytest.raises(InfrastructureError, match=f"the image {name} has no shell"):
        await DockerSandbox(SandboxSpec(image=name), name="x").start()
    assert labelled(docker_engine, current_owner()) == []


@asynchronous
async def test_a_session_and_the_file_tools_work_without_bash(context: Path) -> None:
    spec = SandboxSpec(build_context=context, env={"GIVEN": "1"})
    session = SandboxSession(lambda: DockerSandbox(spec, name="no bash"), backend="docker")
    try:
        shell = await session.shell()
        assert session.sandbox.shell == "sh"

        async def output_of(command: str) -> str:
            return (await shell.run(command, timeout=20)).stdout.decode()

        assert await output_of("mkdir -p 'a b/ü\n' && cd 'a b/ü\n' && pwd") == "/app/a b/ü\n\n"
        await output_of("export ONE='two\nlines' ONLY=\"'\"; unset GIVEN; plain=1")
        assert await output_of('printf "%s|" "$PWD" "$ONE" "$ONLY" "$GIVEN" "$plain"') == "/app/a b/ü\n|two\nlines|'|||"
        for command, code in [("cd /usr; exit 7", 7), ("cd /etc; false", 1), ("exec false", 1), ("kill -9 $$", 137)]:
            assert (await shell.run(command)).exit_code == code
        assert await output_of("pwd; cat") == "/etc\n"
        assert (await shell.run("cd /; sleep 60", timeout=0.3)).timed_out
        assert await output_of("pwd") == "/etc\n"
        await output_of("mkdir /gone; cd /gone")
        await session.sandbox.exec("rmdir /gone")
        assert await output_of("true") == "hermes: the folder /gone is gone; this command starts in /app\n"
        await output_of("cd /tmp")
        arguments = json.dumps({"path": "deep/file.txt", "content": "one\ntwo\n"})
        assert not (await dispatch(FILE_TOOLS.tools, "write_file", arguments, session)).error
        assert await output_of("cat deep/file.txt; pwd") == "one\ntwo\n/tmp\n"
    finally:
        await session.close()


@asynchronous
async def test_an_image_that_was_removed_is_had_again(context: Path, docker_engine: docker.APIClient) -> None:
    spec = SandboxSpec(build_context=context)
    for _ in range(2):
        sandbox = DockerSandbox(spec, name="again")
        try:
            await sandbox.start()
        finally:
            await sandbox.close()
        for image in docker_engine.images(name=image_of(context)):
            docker_engine.remove_image(image["Id"], force=True)


# Needs and limits


@asynchronous
@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (SandboxSpec(cpus=10_000), r"^the task needs 10000 cpus, the machine of this Docker engine has \d+$"),
        (
            SandboxSpec(memory="900t"),
            r"^the task needs \d+ MiB of memory, the machine of this Docker engine has \d+ MiB$",
        ),
    ],
)
async def test_what_the_machine_lacks_is_said(spec: SandboxSpec, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        await DockerSandbox(spec, name="x").start()


@asynchronous
async def test_limits_hold(caplog: pytest.LogCaptureFixture) -> None:
    async with opened("docker", memory="64m", cpus=0.5, pids=40, storage="10g") as sandbox:
        result = await sandbox.exec("head -c 200m /dev/zero | tail | wc -c; echo ${PIPESTATUS[*]}")
        assert b"137" in result.stdout
        result = await sandbox.exec("for n in $(seq 60); do sleep 5 & done", timeout=10)
        assert b"Resource temporarily unavailable" in result.stderr
        quota = "cd /sys/fs/cgroup; cat cpu.max 2>/dev/null || cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us | xargs"
        assert (await output(sandbox, quota)).split() == ["50000", "100000"]
    if "cannot limit storage" in DockerSandbox.describe():
        assert caplog.messages == ["this Docker engine cannot limit storage: the task runs without that limit"]


@asynchronous
async def test_the_network_can_be_cut_off_whatever_the_options_say() -> None:
    options: dict[str, Any] = {"options": {"network_mode": "host"}}
    for network in (None, False):
        sandbox = BACKENDS["docker"](SandboxSpec(network=network), name="x", **options)
        try:
            await sandbox.start()
            of_the_host = (await output(sandbox, "readlink /proc/self/ns/net")).strip() == os.readlink(
                "/proc/self/ns/net"
            )
            assert of_the_host == (network is None)
            if network is False:
                # Those that a kernel makes in every network of its own have no address.
                assert await output(sandbox, "cat /proc/net/route | wc -l") == "1\n"
        finally:
            await sandbox.close()


@asynchronous
async def test_options_of_docker_run(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("by the host")
    tmp_path.chmod(0o755)
    options = {"user": "user", "volumes": [f"{tmp_path}:/mine:ro"], "shm_size": "8m", "hostname": "box"}
    sandbox = BACKENDS["docker"](SandboxSpec(workdir="/tmp/work"), name="x", options=options)
    try:
        await sandbox.start()
        assert sandbox.workdir == "/tmp/work"
        assert (await output(sandbox, "id -un; hostname; cat /mine/given")) == "user\nbox\nby the host"
        # Killing is done as root, whoever a command runs as.
        assert (await sandbox.exec("sleep 60", timeout=0.2)).timed_out
    finally:
        await sandbox.close()


def test_options_that_do_not_exist() -> None:
    with pytest.raises(UsageError, match=r"^unknown docker option 'mem_limits'; did you mean 'mem_limit'\?"):
        RunOptions.parse({"mem_limits": "2g"})
    with pytest.raises(UsageError, match="unknown docker option 'auto_remove'"):
        RunOptions.parse({"auto_remove": False})
    with pytest.raises(UsageError, match=r"these docker options do not fit: .*lots"):
        RunOptions.parse({"shm_size": "lots"})

"""Files of a container that is frozen, and the list of those that changed, as the engine itself reads them."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import BinaryIO, cast

import docker
import pytest

from pytest_hermes.errors import InfrastructureError, Unsupported
from pytest_hermes.sandbox.docker.archive import _Sizes
from pytest_hermes.sandbox.docker.sandbox import DockerSandbox
from pytest_hermes.sandbox.protocol import Sandbox
from pytest_hermes.sandbox.transfer import BoundedFile
from pytest_hermes.task import SandboxSpec
from tests.services.required import container_image

from .backends import opened
from .containers import labelled, output

pytestmark = [pytest.mark.usefixtures("docker_image")]
asynchronous = pytest.mark.asyncio


async def pulled(sandbox: Sandbox, path: str) -> tarfile.TarFile:
    stream = io.BytesIO()
    await sandbox.pull(path, stream)
    stream.seek(0)
    return tarfile.open(fileobj=stream)


def text(archive: tarfile.TarFile, name: str) -> str:
    file = archive.extractfile(name)
    assert file is not None
    return file.read().decode()


@asynchronous
async def test_what_is_frozen_can_be_read_with_nothing_running_in_it() -> None:
    async with opened("docker", workdir="/app") as sandbox:
        await sandbox.exec("mkdir -p sub; echo one >sub/a; chown 7:8 sub/a; chmod 751 sub/a; ln -s sub link")
        # A writer that goes on for as long as it may, and no program that could still be trusted.
        await sandbox.exec("(while :; do echo x >>/app/busy; done) & sleep 0.1; rm -f /bin/tar /bin/sh")
        await sandbox.freeze()
        await sandbox.freeze()
        with pytest.raises(InfrastructureError, match="the sandbox is frozen"):
            await sandbox.exec(["true"])
        first, second = await pulled(sandbox, "/app"), await pulled(sandbox, "/app/")
        assert text(first, "app/busy") == text(second, "app/busy") != ""
        member = first.getmember("app/sub/a")
        assert (text(first, "app/sub/a"), member.uid, member.gid, member.mode & 0o7777) == ("one\n", 7, 8, 0o751)
        assert first.getmember("app/link").linkname == "sub"


@asynchronous
async def test_names_and_symlinks_are_as_in_a_download() -> None:
    async with opened("docker", workdir="/app") as sandbox:
        await sandbox.exec("mkdir -p real/in; echo 1 >real/in/f; ln -s real/in /app/short; ln -s /app/real /abs")
        paths = ("/app/short/f", "/abs/in/f", "/app/short", "/app/real/in/", "/app")

        async def downloaded(path: str) -> tarfile.TarFile:
            stream = io.BytesIO()
            await sandbox.download(path, stream)
            stream.seek(0)
            return tarfile.open(fileobj=stream)

        def told(archive: tarfile.TarFile) -> list[tuple[str, bytes, str]]:
            return sorted((member.name, member.type, member.linkname) for member in archive)

        before = [told(await downloaded(path)) for path in paths]
        await sandbox.freeze()
        assert [told(await pulled(sandbox, path)) for path in paths] == before


@asynchronous
async def test_what_cannot_be_read_is_said() -> None:
    async with opened("docker", workdir="/app") as sandbox:
        await sandbox.exec("ln -s loop loop; echo x >file; mkfifo fifo")
        await sandbox.freeze()
        with pytest.raises(FileNotFoundError, match="there is no '/app/none' in the sandbox"):
            await sandbox.pull("/app/none", io.BytesIO())
        for path in ("/app/loop/x", "/app/file/x"):
            with pytest.raises(OSError, match="/app/"):
                await sandbox.pull(path, io.BytesIO())
        assert (await pulled(sandbox, "/app/fifo")).getmember("fifo").isfifo()
        with pytest.raises(Unsupported, match="'/dev' is in memory"):
            await sandbox.pull("/dev/shm/x", io.BytesIO())
        await sandbox.close()
        with pytest.raises(InfrastructureError, match="not open"):
            await sandbox.pull("/app", io.BytesIO())


@asynchronous
async def test_mounts_in_memory_are_not_taken_for_empty_folders() -> None:
    sandbox = DockerSandbox(SandboxSpec(image=container_image()), name="x", options={"tmpfs": {"/work/": ""}})
    try:
        await sandbox.start()
        await sandbox.exec("echo x >/work/f")
        await sandbox.freeze()
        with pytest.raises(Unsupported, match="cannot read '/work/f' from a container: '/work/' is in memory"):
            await sandbox.pull("/work/f", io.BytesIO())
    finally:
        await sandbox.close()


@asynchronous
async def test_a_huge_file_of_holes_fills_nothing(tmp_path: Path) -> None:
    async with opened("docker", workdir="/app") as sandbox:
        await sandbox.exec("echo small >a; truncate -s 20G b; echo small >c")
        await sandbox.freeze()
        for path in ("/app", "/app/b"):
            with tempfile.TemporaryFile(dir=tmp_path) as file:
                with pytest.raises(OSError, match=r"larger than it may be: it has more than 4096 MiB") as e:
                    await sandbox.pull(path, cast(BinaryIO, file))
                assert e.value.errno is None
                assert file.tell() < 1 << 20
        with pytest.raises(OSError, match="larger than it may be"):
            await sandbox.pull("/app/a", cast(BinaryIO, BoundedFile(io.BytesIO(), 100)))
        assert text(await pulled(sandbox, "/app/c"), "c") == "small\n"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("step", [1, 511, 513, 1 << 20])
def test_sizes_are_added_up_whatever_the_form_and_the_pieces(format: int, step: int) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        for number, size in enumerate((0, 1, 511, 512, 513, 2000)):
            member = tarfile.TarInfo(
                "d" * 90 + "/" + "n" * (90 if format == tarfile.USTAR_FORMAT else 200) + str(number)
            )
            member.size, member.mtime = size, 1.5 if format == tarfile.PAX_FORMAT else 1
            archive.addfile(member, io.BytesIO(b"\1" * size))
            link = tarfile.TarInfo(f"link{number}")
            link.type, link.linkname = tarfile.SYMTYPE, "x"
            archive.addfile(link)
    data, total = stream.getvalue(), 1 + 511 + 512 + 513 + 2000

    def fed(limit: int) -> None:
        sizes = _Sizes(limit)
        for start in range(0, len(data), step):
            sizes.feed(data[start : start + step])

    fed(total)
    with pytest.raises(OSError, match="larger than it may be"):
        fed(total - 1)


@asynchronous
async def test_changed_files_are_those_of_the_container() -> None:
    async with opened("docker") as sandbox:
        assert await output(sandbox, "echo x >/etc/new; rm /bin/env; mkdir -p '/a \"b\"'; echo x >/bin/setsid") == ""
        changed = await sandbox.changed_files()
        assert changed is not None
        assert {"/etc/new", "/bin/env", '/a "b"', "/bin/setsid"} <= set(changed)
        assert "/bin/bash" not in changed
        await sandbox.freeze()
        assert set(await sandbox.changed_files() or ()) == set(changed)


FREEZES = """
import asyncio, sys
from pytest_hermes.sandbox.docker.owner import current_owner
from pytest_hermes.sandbox.docker.sandbox import DockerSandbox
from pytest_hermes.task import SandboxSpec

async def main():
    sandbox = DockerSandbox(SandboxSpec(image=sys.argv[1]), name="frozen")
    await sandbox.start()
    await sandbox.freeze()
    print(current_owner(), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.slow
def test_what_is_frozen_is_removed_when_its_owner_is_killed(docker_image: str, docker_engine: docker.APIClient) -> None:
    owner = subprocess.Popen([sys.executable, "-c", FREEZES, docker_image], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner:
        label = owner.stdout.readline().strip()
        assert len(labelled(docker_engine, label)) == 1
        owner.kill()
    end = time.monotonic() + 10
    while labelled(docker_engine, label):
        assert time.monotonic() < end
        time.sleep(0.1)

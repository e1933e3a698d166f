"""Copies between host and sandbox."""

from __future__ import annotations

import asyncio
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_hermes.errors import InfrastructureError
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.sandbox.protocol import Sandbox
from pytest_hermes.sandbox.safe_tar import extract_file, extract_tree
from pytest_hermes.sandbox.transfer import download_dir, download_file, upload_dir, upload_file
from pytest_hermes.task import SandboxSpec

from .backends import BACKENDS, need

asynchronous = pytest.mark.asyncio

NAMES = [
    b"plain",
    b"with space",
    b"new\nline",
    "ünïcödé→".encode(),
    b"bad\xff\xfeutf",
    b"-dash",
    b"back\\slash",
    b"*?[",
]


def tree(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """All that a folder holds, by name: kind, mode and contents."""
    found: dict[bytes, tuple[object, ...]] = {}
    top = os.fsencode(folder)
    for parent, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                entry: tuple[object, ...] = ("link", os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                entry = ("folder",)
            else:
                with open(path, "rb") as file:
                    entry = ("file", stat.S_IMODE(status.st_mode), file.read())
            found[os.path.relpath(path, top)] = entry
    return found


def make_tree(folder: Path) -> None:
    top = os.fsencode(folder)
    os.makedirs(top, exist_ok=True)
    for name in NAMES:
        with open(os.path.join(top, name), "wb") as file:
            file.write(b"contents of " + name)
        os.makedirs(os.path.join(top, b"in", name))
        with open(os.path.join(top, b"in", name, name), "wb") as file:
            file.write(name * 1000)
    (folder / "empty" / "inner").mkdir(parents=True)
    (folder / "script").write_text("#!/bin/sh\n")
    (folder / "script").chmod(0o755)
    (folder / "private").write_text("p")
    (folder / "private").chmod(0o400)
    (folder / "nothing").write_bytes(b"")
    (folder / "link").symlink_to("in/with space")
    (folder / "in" / "up").symlink_to("../plain")
    (folder / "dangling").symlink_to("not-there")
    long = folder / "/".join(["deep" * 12] * 6)
    long.mkdir(parents=True)
    (long / ("n" * 200)).write_text("long")
    (long / "longlink").symlink_to("n" * 200)


@asynchronous
async def test_everything_comes_back_as_it_was_sent(sandbox: Sandbox, tmp_path: Path) -> None:
    make_tree(tmp_path / "sent")
    await upload_dir(sandbox, tmp_path / "sent", "a folder/to")
    left_out = await download_dir(sandbox, f"{sandbox.workdir}/a folder/to", tmp_path / "back")
    assert left_out == []
    assert tree(tmp_path / "back") == tree(tmp_path / "sent")


@asynchronous
async def test_modes_and_names_arrive_inside(sandbox: Sandbox, tmp_path: Path) -> None:
    make_tree(tmp_path / "sent")
    await upload_dir(sandbox, tmp_path / "sent", "to")
    result = await sandbox.exec("stat -c %a script private; readlink link; find . -name 'bad*' | wc -l", cwd="to")
    assert result.stdout == b"755\n400\nin/with space\n3\n"


@asynchronous
async def test_a_file_is_copied_to_the_name_that_is_asked_for(sandbox: Sandbox, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"one")
    source.chmod(0o750)
    for remote in ("new/folder/name", f"{sandbox.home}/-odd\nnäme"):
        await upload_file(sandbox, source, remote)
        assert (await sandbox.exec(["cat", "--", remote])).stdout == b"one"
        await download_file(sandbox, remote, tmp_path / "deep" / "back")
        assert (tmp_path / "deep" / "back").read_bytes() == b"one"
        assert stat.S_IMODE((tmp_path / "deep" / "back").stat().st_mode) == 0o750
    source.write_bytes(b"two")
    await upload_file(sandbox, source, "new/folder/name")
    await download_file(sandbox, "new/folder/name", tmp_path / "deep" / "back")
    assert (tmp_path / "deep" / "back").read_bytes() == b"two"


@asynchronous
async def test_symlinks_to_a_file_or_folder_are_followed_inside(sandbox: Sandbox, tmp_path: Path) -> None:
    await sandbox.exec("mkdir -p a/b; echo x >a/b/f; ln -s b a/l; ln -s a/l/f file; ln -s a/l folder; ln -s loop loop")
    await download_file(sandbox, "file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"x\n"
    assert await download_dir(sandbox, "folder", tmp_path / "folder") == []
    assert (tmp_path / "folder" / "f").read_bytes() == b"x\n"
    with pytest.raises(OSError, match=r"'loop' cannot be copied .* too many symlinks"):
        await download_file(sandbox, "loop", tmp_path / "loop")


@asynchronous
async def test_what_cannot_be_copied_is_an_error_that_names_it(sandbox: Sandbox, tmp_path: Path) -> None:
    await sandbox.exec("echo >file; mkdir folder; mkfifo fifo")
    with pytest.raises(FileNotFoundError, match="'nope'"):
        await download_file(sandbox, "nope", tmp_path / "x")
    with pytest.raises(FileNotFoundError, match="no folder 'nope'"):
        await download_dir(sandbox, "nope", tmp_path / "x")
    with pytest.raises(FileNotFoundError, match="no folder 'file'"):
        await download_dir(sandbox, "file", tmp_path / "x")
    for name in ("folder", "fifo"):
        with pytest.raises(OSError, match=rf"'{name}' cannot be copied .* not a regular file"):
            await download_file(sandbox, name, tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        await upload_file(sandbox, tmp_path / "nope", "x")
    with pytest.raises(FileNotFoundError):
        await upload_dir(sandbox, tmp_path / "nope", "x")
    with pytest.raises(OSError, match="cannot be written to 'file/x'"):
        await upload_dir(sandbox, tmp_path, "file/x")
    with pytest.raises(IsADirectoryError):
        await upload_file(sandbox, tmp_path, "folder/")
    assert not (tmp_path / "x").exists()


@asynchronous
async def test_the_whole_of_a_missing_file_is_not_left_half(sandbox: Sandbox, tmp_path: Path) -> None:
    await sandbox.exec("truncate -s 1099511627776 huge")
    with pytest.raises(OSError, match="larger than it may be"):
        await asyncio.wait_for(download_file(sandbox, "huge", tmp_path / "huge", max_bytes=1 << 20), 20)
    assert not (tmp_path / "huge").exists()
    assert (await sandbox.exec("echo on")).stdout == b"on\n"


@pytest.fixture(scope="module")
def ten_thousand_files() -> Iterator[Path]:
    """A folder in memory, where there is one: making many files takes a busy disk its time."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as path:
        for number in range(10_000):
            folder = Path(path, str(number % 100))
            if number < 100:
                folder.mkdir()
            (folder / f"{number}.txt").write_text(f"file {number}\n")
        yield Path(path)


@asynchronous
async def test_ten_thousand_files_can_be_uploaded(sandbox: Sandbox, ten_thousand_files: Path) -> None:
    await upload_dir(sandbox, ten_thousand_files, "many")
    assert (await sandbox.exec("find many -type f | wc -l; cat many/99/9999.txt")).stdout == b"10000\nfile 9999\n"


@asynchronous
async def test_a_hostile_folder_writes_nothing_outside(sandbox: Sandbox, tmp_path: Path) -> None:
    await sandbox.exec(
        "mkdir -p d/sub; cd d; echo ok >ok; ln -s /etc/passwd passwd; ln -s / root; ln -s ../../.. up;"
        "ln -s sub/../.. up2; ln -s ../ok sub/fine; mkfifo fifo; ln ok hard; ln -s . dot"
    )
    target = tmp_path / "a" / "b"
    left_out = await asyncio.wait_for(download_dir(sandbox, "d", target), 20)
    assert sorted(line.split("'")[1].rpartition("/")[2] for line in left_out) == ["fifo", "passwd", "root", "up", "up2"]
    assert sorted(tree(target)) == [b"dot", b"hard", b"ok", b"sub", b"sub/fine"]
    assert sorted(tree(tmp_path)) == sorted([b"a", b"a/b", *(b"a/b/" + name for name in tree(target))])


@asynchronous
async def test_a_sandbox_without_tar_is_not_the_agents_fault(backend: str, tmp_path: Path) -> None:
    need(backend)
    sandbox = BACKENDS[backend](SandboxSpec(), name="test")
    if not isinstance(sandbox, LocalSandbox):
        pytest.skip("only the local sandbox can be given another PATH")
    await sandbox.start()
    try:
        await sandbox.exec('mkdir bin; for f in sh mkdir; do ln -s "$(command -v $f)" bin/$f; done')
        sandbox._env["PATH"] = f"{sandbox.home}/bin"
        with pytest.raises(InfrastructureError, match="tar"):
            await download_dir(sandbox, ".", tmp_path / "x")
        with pytest.raises(InfrastructureError, match="tar"):
            await upload_dir(sandbox, tmp_path, "x")
    finally:
        await sandbox.close()


# Hostile streams, which no sandbox is needed for


class Crafted:
    """A tar stream, member by member."""

    def __init__(self) -> None:
        self.stream = io.BytesIO()
        self._tar = tarfile.open(fileobj=self.stream, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115

    def add(
        self, name: str, type: bytes = tarfile.REGTYPE, *, link: str = "", data: bytes = b"", mode: int = 0o644
    ) -> Crafted:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size, member.mode = type, link, len(data), mode
        self._tar.addfile(member, io.BytesIO(data))
        return self

    def into(self, target: Path, max_bytes: int = 1 << 20) -> list[str]:
        self._tar.close()
        self.stream.seek(0)
        return extract_tree(self.stream, target, max_bytes=max_bytes)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "outside").write_text("untouched")
    (tmp_path / "parent" / "target").mkdir(parents=True)
    return tmp_path / "parent" / "target"


def untouched(target: Path) -> bool:
    outside = tree(target.parent.parent)
    return {name: entry for name, entry in outside.items() if not name.startswith(b"parent/target")} == {
        b"outside": ("file", 0o644, b"untouched"),
        b"parent": ("folder",),
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/absolute", "absolute"),
        ("top/../../x", "outside"),
        ("..", "outside"),
        ("top/..", "outside"),
        ("top/a/../../../../outside", "outside"),
    ],
)
def test_names_that_lead_outside_are_left_out(target: Path, name: str, reason: str) -> None:
    [line] = Crafted().add(name, data=b"x").into(target)
    assert reason in line
    assert repr(name) in line
    assert tree(target) == {}
    assert untouched(target)


@pytest.mark.parametrize(
    "link", ["/etc/passwd", "/", "../outside", "..", "../../outside", "a/../../outside", "./../outside", "self/../.."]
)
def test_symlinks_that_may_lead_outside_are_left_out(target: Path, link: str) -> None:
    [line] = Crafted().add("top/link", tarfile.SYMTYPE, link=link).into(target)
    assert "symlink" in line
    assert tree(target) == {}


def test_nothing_is_written_through_a_symlink(target: Path) -> None:
    (target / "theirs").symlink_to("../../outside")
    (target / "folder").symlink_to("../..")
    left_out = (
        Crafted()
        .add("top/inner", tarfile.DIRTYPE)
        .add("top/l", tarfile.SYMTYPE, link="inner")
        .add("top/l/file", data=b"x")
        .add("top/folder/outside", data=b"x")
        .add("top/theirs", data=b"mine now")
        .add("top/folder", tarfile.DIRTYPE)
        .into(target)
    )
    assert [line.split(":")[0] for line in left_out] == ["'top/l/file'", "'top/folder/outside'", "'top/folder'"]
    assert (target / "theirs").read_text() == "mine now"
    assert not (target / "theirs").is_symlink()
    assert list((target / "inner").iterdir()) == []
    assert untouched(target)


def test_a_chain_of_symlinks_cannot_climb_out(target: Path) -> None:
    left_out = (
        Crafted()
        .add("top/d/e", tarfile.DIRTYPE)
        .add("top/d/e/up", tarfile.SYMTYPE, link="..")
        .add("top/x", tarfile.SYMTYPE, link="d/e/up/../..")
        .add("top/y", tarfile.SYMTYPE, link="d/e/up")
        .into(target)
    )
    assert [line.split(":")[0] for line in left_out] == ["'top/x'"]
    assert (target / "y").resolve().is_relative_to(target)


def test_hard_links_reach_only_what_the_stream_brought(target: Path) -> None:
    (target / "mine").write_text("mine")
    left_out = (
        Crafted()
        .add("top/file", data=b"x")
        .add("top/good", tarfile.LNKTYPE, link="top/file")
        .add("top/sub/good", tarfile.LNKTYPE, link="top/good")
        .add("top/bad", tarfile.LNKTYPE, link="top/../../outside")
        .add("top/abs", tarfile.LNKTYPE, link="/etc/passwd")
        .add("top/local", tarfile.LNKTYPE, link="top/mine")
        .add("top/s", tarfile.SYMTYPE, link="file")
        .add("top/sl", tarfile.LNKTYPE, link="top/s")
        .into(target)
    )
    assert [line.split(":")[0] for line in left_out] == ["'top/bad'", "'top/abs'", "'top/local'", "'top/sl'"]
    assert (target / "sub" / "good").read_text() == "x"
    assert (target / "good").stat().st_ino == (target / "file").stat().st_ino
    assert untouched(target)


def test_devices_and_fifos_are_left_out(target: Path) -> None:
    left_out = (
        Crafted()
        .add("top/fifo", tarfile.FIFOTYPE)
        .add("top/char", tarfile.CHRTYPE)
        .add("top/block", tarfile.BLKTYPE)
        .add("top/odd", b"Z", data=b"zz")
        .add("top/after", data=b"fine", mode=0o7755)
        .into(target)
    )
    assert len(left_out) == 4
    assert tree(target) == {b"after": ("file", 0o755, b"fine")}


def test_a_folder_cannot_be_replaced_and_stays_usable(target: Path) -> None:
    left_out = (
        Crafted()
        .add("top/d", tarfile.DIRTYPE, mode=0)
        .add("top/d/file", data=b"x")
        .add("top/d", data=b"file")
        .add("top/d", tarfile.SYMTYPE, link="elsewhere")
        .add("top/d/file/below", data=b"x")
        .into(target)
    )
    assert [line.split(":")[0] for line in left_out] == ["'top/d'", "'top/d'", "'top/d/file/below'"]
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o700


def test_names_that_are_too_long_are_left_out(target: Path) -> None:
    left_out = Crafted().add("top/" + "x" * 300, data=b"x").add("top/ok", data=b"x").into(target)
    assert len(left_out) == 1
    assert sorted(tree(target)) == [b"ok"]


def test_more_than_is_allowed_is_an_error(target: Path) -> None:
    with pytest.raises(OSError, match="bytes together"):
        Crafted().add("top/a", data=b"x" * 60).add("top/b", data=b"x" * 60).into(target, max_bytes=100)


def test_one_file_replaces_a_symlink_instead_of_following_it(target: Path) -> None:
    (target / "here").symlink_to("../../outside")
    crafted = Crafted().add("name", data=b"new", mode=0o4755)
    crafted._tar.close()
    assert extract_file(crafted.stream, target / "here", max_bytes=100) is None
    assert tree(target) == {b"here": ("file", 0o755, b"new")}
    assert untouched(target)

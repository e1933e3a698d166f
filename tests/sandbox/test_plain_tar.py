"""Archives that an agent sent, written anew: what three programs unpack is what was read, and nothing else."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_hermes.sandbox.plain_tar import UnsafeTar, rewrite_tar
from pytest_hermes.sandbox.tar_reader import TarReader
from tests.services.tar_headers import EVIL, block, pax

WITH_TARFILE = """
import sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|", errors="surrogateescape") as tar:
    tar.extractall(".")
"""

#: What unpacks a plain archive from its standard input into the folder it is started in.
PROGRAMS = {
    "GNU tar": ["tar", "-x", "-p", "-f", "-"],
    "busybox tar": ["busybox", "tar", "-x", "-p", "-f", "-"],
    "tarfile": ["python3", "-c", WITH_TARFILE],
}


PARTS = st.sampled_from([b"a", b"b", b"c d", b"\xff\xfe", b"e" * 60, b".", b"..", b""])
PATHS = st.builds(
    lambda start, parts: start + b"/".join(parts),
    st.sampled_from([b"top/", b"./top/", b"top//", b"", b"/", b"../"]),
    st.lists(PARTS, min_size=1, max_size=3),
)
SPARSE = st.sampled_from(
    [
        {b"GNU.sparse.size": b"9", b"GNU.sparse.numblocks": b"1", b"GNU.sparse.offset": b"0"},
        {b"GNU.sparse.map": b"0,1", b"GNU.sparse.size": b"9", b"GNU.sparse.name": b"/escaped"},
        {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": b"../escaped"},
    ]
)  # fmt: skip


@st.composite
def members(draw: st.DrawFn) -> bytes:
    """One member with the headers that come before it: mostly harmless, so that archives are taken at times."""
    safe = st.sampled_from([b"top/a", b"top/b", b"top/c/a", b"top/c", b"top/" + b"l" * 150, b"./top/d"])
    name = draw(st.one_of(safe, safe, safe, PATHS))
    kind = draw(st.sampled_from([b"0", b"0", b"0", b"5", b"2", b"1", b"6", b"3", b"S", b"7", b"\0", b"Z"]))
    link = draw(st.one_of(safe, PATHS, st.just(b"/etc/passwd"))) if kind in (b"1", b"2") else b""
    data = draw(st.binary(max_size=700)) if kind in (b"0", b"7", b"\0") else b""
    before = b""
    match draw(st.sampled_from(["", "", "", "", "long", "pax", "prefix", "global", "sparse", "size"])):
        case "long":
            before = block(b"././@LongLink", b"L", name + b"\0", gnu=True)
            if link:
                before += block(b"././@LongLink", b"K", link + b"\0", gnu=True)
        case "pax":
            before = pax(b"x", {b"path": name, **({b"linkpath": link} if link else {})})
        case "prefix" if b"/" in name[1:]:
            prefix, _, rest = name.rpartition(b"/")
            return block(rest, kind, data, link=link, prefix=prefix)
        case "global":
            before = pax(b"g", {b"path": draw(PATHS)} if draw(st.booleans()) else {b"comment": b"harmless"})
        case "sparse":
            before = pax(b"x", draw(SPARSE))
        case "size":
            before = pax(b"x", {b"size": b"%d" % len(data)})
    big = draw(st.booleans())
    gnu = draw(st.booleans())
    return before + block(name, kind, data, link=link, mode=draw(st.sampled_from([0o644, 0o755])), big=big, gnu=gnu)


FOLDER = block(b"top/", b"5", mode=0o755)
ARCHIVES = st.lists(members(), min_size=1, max_size=5).map(
    lambda parts: block(b"top/", b"5", mode=0o755) + b"".join(parts)
)

Tree = dict[str, tuple[str, object]]


def expected(plain: io.BytesIO) -> Tree:
    """What the archive says, by path: a file's content and mode, where a symlink leads, or that it is a folder."""
    tree: Tree = {}
    reader = TarReader(plain)
    while (member := reader.next()) is not None:
        name = member.name.rstrip("/")
        for parent in Path(name).parents:
            tree.setdefault(str(parent), ("folder", None))
        match member.type:
            case b"5":
                tree[name] = ("folder", None)
            case b"0":
                content = io.BytesIO()
                reader.copy(member, content)
                tree[name] = ("file", (content.getvalue(), member.mode))
            case b"1":
                tree[name] = tree[member.link]
            case b"2":
                tree[name] = ("symlink", member.link)
            case b"6":
                tree[name] = ("fifo", None)
    tree.pop(".", None)
    return tree


def found(folder: Path) -> Tree:
    tree: Tree = {}
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(where, name)
            status = path.lstat()
            key = str(path.relative_to(folder))
            if stat.S_ISLNK(status.st_mode):
                tree[key] = ("symlink", os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                tree[key] = ("folder", None)
            elif stat.S_ISFIFO(status.st_mode):
                tree[key] = ("fifo", None)
            else:
                tree[key] = ("file", (path.read_bytes(), stat.S_IMODE(status.st_mode)))
    return tree


def unpacked_by(program: str, plain: bytes) -> Tree:
    """Unpack in a folder with nothing around it, and look that nothing was written there."""
    with tempfile.TemporaryDirectory(prefix="hermes-") as around:
        folder = Path(around, "deep", "folder")
        folder.mkdir(parents=True)
        subprocess.run(PROGRAMS[program], input=plain, cwd=folder, check=True, capture_output=True, timeout=30)
        assert [path.name for path in Path(around).iterdir()] == ["deep"]
        assert [path.name for path in Path(around, "deep").iterdir()] == ["folder"]
        return found(folder)


def rewritten(archive: bytes) -> bytes | None:
    target = io.BytesIO()
    try:
        rewrite_tar(io.BytesIO(archive), target, top="top")
    except UnsafeTar:
        return None
    return target.getvalue()


@pytest.mark.parametrize("program", PROGRAMS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(archive=ARCHIVES)
def test_what_is_read_is_what_is_unpacked(program: str, archive: bytes) -> None:
    if shutil.which(PROGRAMS[program][0]) is None:
        pytest.skip(f"{program} is not here")
    plain = rewritten(archive)
    if plain is not None:
        assert unpacked_by(program, plain) == expected(io.BytesIO(plain))
        assert all(path == "top" or path.startswith("top/") for path in expected(io.BytesIO(plain)))


@settings(max_examples=300, deadline=None)
@given(archive=ARCHIVES)
def test_what_is_written_is_what_was_read(archive: bytes) -> None:
    plain = rewritten(archive)
    if plain is not None:
        devices = (b"3", b"4")
        reader, kept = TarReader(io.BytesIO(archive)), TarReader(io.BytesIO(plain))
        while (member := reader.next()) is not None:
            if member.type in devices:
                continue
            again = kept.next()
            assert again is not None
            assert Path(again.name) == Path(member.name)
            assert (again.type, again.mode, again.uid, again.gid, again.mtime, again.size) == (
                member.type, member.mode, member.uid, member.gid, member.mtime, member.size,
            )  # fmt: skip
        assert kept.next() is None


@pytest.mark.parametrize("members", EVIL.values(), ids=EVIL)
def test_what_no_honest_tar_sends_is_refused(members: bytes) -> None:
    with pytest.raises(UnsafeTar):
        rewrite_tar(io.BytesIO(FOLDER + members), io.BytesIO(), top="top")


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_honest_folder_comes_through(tmp_path: Path, format: int) -> None:
    top = tmp_path / "top"
    (top / "sub").mkdir(parents=True)
    (top / "file").write_bytes(b"x" * 5000)
    os.link(top / "file", top / "sub" / "again")
    os.symlink("/usr/bin/python3", top / "link")
    os.mkfifo(top / "fifo")
    (top / "sub" / ("long" * 20)).write_text("1")
    (top / "file").chmod(0o4755)
    stream, target = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as tar:
        tar.add(top, arcname="top")
    rewrite_tar(stream, target, top="top")
    assert expected(target) == found(tmp_path)

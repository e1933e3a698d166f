"""Archives in columns: what is in them comes out, and what is wrong with them is told."""

from __future__ import annotations

import base64
import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_hermes.dataset.archive import ArchiveError, repack, unpacked
from tests.services.rows import archive

NAMES = st.lists(
    st.text("abc.-é ", min_size=1, max_size=8).filter(lambda name: name.strip(".")), min_size=1, max_size=3
)


def contents(tar: io.BytesIO) -> dict[str, bytes]:
    tar.seek(0)
    with tarfile.open(fileobj=tar) as read:
        return {member.name: read.extractfile(member).read() for member in read if member.isreg()}  # type: ignore[union-attr]


@given(
    files=st.dictionaries(NAMES.map("/".join), st.binary(max_size=3000), max_size=5), prefix=st.sampled_from(["", "./"])
)
def test_what_is_in_it_comes_out(files: dict[str, bytes], prefix: str) -> None:
    out = io.BytesIO()
    repack(archive(files, prefix=prefix), out, top="tests")
    assert contents(out) == {f"./{name}": content for name, content in files.items()}


@settings(max_examples=60)
@given(st.data())
def test_whatever_is_damaged_is_told_or_still_right(data: st.DataObject) -> None:
    whole = base64.b64decode(archive({"a": b"1" * 2000, "b/c": b"2"}))
    cut = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:cut] if data.draw(st.booleans()) else whole[:cut] + bytes([whole[cut] ^ 0x41]) + whole[cut + 1 :]
    out = io.BytesIO()
    try:
        repack(base64.b64encode(damaged).decode(), out, top="tests")
    except ArchiveError:
        return
    # Bytes of a gzip header mean nothing; of a file that ends at once nothing is left.
    assert contents(out) in ({"./a": b"1" * 2000, "./b/c": b"2"}, {})


def test_one_folder_around_everything_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_HERMES_CACHE_DIR", str(tmp_path))
    for prefix in ("environment/", "./environment/", "./"):
        folder = unpacked(
            archive({"Dockerfile": "FROM x\n", "src/a": "1"}, prefix=prefix), top="environment", name="a task"
        )
        assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == ["Dockerfile", "src", "src/a"]
    # The same archive is unpacked once.
    before = folder.stat()
    assert (
        unpacked(archive({"Dockerfile": "FROM x\n", "src/a": "1"}), top="environment", name="a task").stat() == before
    )
    assert not list(tmp_path.glob("environments/new-*"))


def test_links_of_an_environment_may_lead_anywhere_in_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_HERMES_CACHE_DIR", str(tmp_path))

    def packed(*names: str) -> str:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for name in names:
                info = tarfile.TarInfo(name)
                if name == "link":
                    info.type, info.linkname = tarfile.SYMTYPE, str(tmp_path)
                tar.addfile(info)
        return base64.b64encode(stream.getvalue()).decode()

    folder = unpacked(packed("Dockerfile", "link"), top="environment", name="task")
    assert (folder / "link").readlink() == tmp_path
    with pytest.raises(ArchiveError, match="its path leads through 'link', which is not a folder"):
        unpacked(packed("link", "link/through"), top="environment", name="task")
    assert not (tmp_path / "through").exists()


def test_files_replace_what_the_archive_has_and_can_be_executed() -> None:
    out = io.BytesIO()
    repack(archive({"test.sh": "old", "other": "kept"}), out, top="tests", files={"test.sh": b"new"})
    assert contents(out) == {"./other": b"kept", "./test.sh": b"new"}
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        assert tar.getmember("./test.sh").mode & 0o111


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b"])
def test_names_that_lead_outside(name: str) -> None:
    with pytest.raises(ArchiveError, match="leads outside"):
        repack(archive({name: "x"}, prefix=""), io.BytesIO(), top="tests")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("not base64!", "it is not base64"),
        (base64.b64encode(gzip.compress(b"x" * 700)).decode(), "its tar stream is damaged"),
        (base64.b64encode(b"\x1f\x8bxx").decode(), "its gzip stream is damaged"),
    ],
    # Processes that run the tests together must call them the same, and gzip writes down the time.
    ids=["no base64", "no tar", "no gzip"],
)
def test_what_is_no_archive(text: str, problem: str) -> None:
    with pytest.raises(ArchiveError, match=problem):
        repack(text, io.BytesIO(), top="tests")

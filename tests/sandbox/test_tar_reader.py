"""Tar streams, as other programs write them and as nobody should."""

from __future__ import annotations

import contextlib
import io
import tarfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_hermes.sandbox.tar_reader import Member, TarError, TarReader

# What a file system has: bytes without NUL, no empty parts.
parts = st.binary(min_size=1, max_size=120).map(lambda name: name.replace(b"\0", b"_").replace(b"/", b"_"))
names = st.lists(parts, min_size=1, max_size=5).map(lambda found: b"/".join(found).decode(errors="surrogateescape"))
files = st.lists(st.tuples(names, st.binary(max_size=1500), st.integers(0, 0o7777)), max_size=6)


def members(stream: io.BytesIO) -> list[tuple[Member, bytes]]:
    reader, found = TarReader(stream), []
    while (member := reader.next()) is not None:
        contents = io.BytesIO()
        reader.copy(member, contents)
        found.append((member, contents.getvalue()))
    return found


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@given(files=files)
def test_what_tarfile_writes_is_read_back(format: int, files: list[tuple[str, bytes, int]]) -> None:
    stream, written = io.BytesIO(), []
    with tarfile.open(fileobj=stream, mode="w", format=format, encoding="utf-8", errors="surrogateescape") as tar:
        for name, data, mode in files:
            file = tarfile.TarInfo(name)
            file.size, file.mode = len(data), mode
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, name
            try:
                tar.addfile(file, io.BytesIO(data))
                written.append((name, b"0", data))
                tar.addfile(link)
                written.append((name, b"2", b""))
            except ValueError:  # ustar has no room for long names
                continue
    found = members(stream)
    assert [(member.name, member.type, data) for member, data in found] == written
    for member, _ in found:
        if member.type == b"2":
            assert member.link == member.name


@given(st.binary(max_size=3000))
@example(b"\0" * 512)
def test_noise_is_an_error_or_nothing(noise: bytes) -> None:
    with contextlib.suppress(TarError):
        assert members(io.BytesIO(noise)) == []


@given(position=st.integers(0, 511), byte=st.integers(0, 255))
def test_a_damaged_header_is_an_error_or_harmless(position: int, byte: int) -> None:
    damaged = bytearray(one_file().getvalue())
    damaged[position] = byte
    # Harmless: the same byte, or a blank for a NUL around the checksum itself.
    with contextlib.suppress(TarError):
        assert members(io.BytesIO(damaged)) == members(one_file())


def one_file() -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        file = tarfile.TarInfo("name")
        file.size = 700
        tar.addfile(file, io.BytesIO(b"x" * 700))
    return stream


def with_header(**fields: bytes) -> io.BytesIO:
    """One file with other bytes in some fields of its header, and the right checksum."""
    positions = {"size": (124, 12), "type": (156, 1), "mode": (100, 8)}
    data = bytearray(one_file().getvalue())
    for name, value in fields.items():
        start, length = positions[name]
        data[start : start + length] = value.ljust(length, b"\0")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return io.BytesIO(data)


@pytest.mark.parametrize(
    "size",
    [
        b"\xff" * 12,  # -1
        b"\xff" * 10 + b"\xfe\0",  # -512: a reader that adds it up reads the same header for ever
        b"\x80" + b"\xff" * 11,
        b"77777777777",
        b"9",
        b"-1",
    ],
)
@pytest.mark.parametrize("type", [b"0", b"L", b"x", b"g", b"S", b"Z"])
def test_absurd_sizes_are_an_error(size: bytes, type: bytes) -> None:
    with pytest.raises(TarError):
        members(with_header(size=size, type=type))


@pytest.mark.parametrize(
    "records", [b"0 a=b\n", b"99 path=x\n", b"7 path=", b"x", b"1 ", b"12 path=abcd", b"9 path_x\n"]
)
def test_damaged_pax_headers_are_an_error(records: bytes) -> None:
    stream = with_header(type=b"x", size=b"%o" % len(records))
    data = bytearray(stream.getvalue())
    data[512:1024] = records.ljust(512, b"\0")
    with pytest.raises(TarError):
        members(io.BytesIO(data))


@pytest.mark.parametrize("cut", [100, 512, 600, 1211])
def test_a_stream_that_ends_too_early_is_an_error(cut: int) -> None:
    with pytest.raises(TarError, match="ends in the middle"):
        members(io.BytesIO(one_file().getvalue()[:cut]))


def test_old_and_contiguous_files_are_files_and_sparse_ones_are_marked() -> None:
    assert members(with_header(type=b"\0"))[0][0].type == b"0"
    assert members(with_header(type=b"7"))[0][0].type == b"0"
    assert members(with_header(type=b"S"))[0][0].sparse

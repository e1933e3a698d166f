"""Compressed answers, in whatever pieces they arrive."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.models.content_encoding import STEP, Decompressor, UnreadableContent


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate ": raw_deflate,
    "deflate, x-gzip": lambda data: gzip.compress(zlib.compress(data)),
    "identity": bytes,
}


def through(encoding: str, sent: bytes, cuts: list[int]) -> bytes:
    """Return what is made of bytes that arrive in pieces."""
    decompressor = Decompressor(encoding)
    places = [0, *sorted(cut % (len(sent) + 1) for cut in cuts), len(sent)]
    made = b"".join(piece for begin, end in pairwise(places) for piece in decompressor.feed(sent[begin:end]))
    decompressor.end()
    return made


@given(st.sampled_from(list(ENCODINGS)), st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=8))
def test_pieces_make_no_difference(encoding: str, data: bytes, cuts: list[int]) -> None:
    assert through(encoding, ENCODINGS[encoding](data), cuts) == data


@given(st.sampled_from(list(ENCODINGS)), st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=8))
def test_any_bytes_are_read_or_refused(encoding: str, sent: bytes, cuts: list[int]) -> None:
    with suppress(UnreadableContent):
        through(encoding, sent, cuts)


@given(st.sampled_from(["gzip", "deflate", "Deflate "]), st.binary(min_size=1, max_size=300), st.integers(1, 400))
def test_what_is_cut_off_is_told(encoding: str, data: bytes, cut: int) -> None:
    sent = ENCODINGS[encoding](data)
    with pytest.raises(UnreadableContent, match="ends in the middle"):
        through(encoding, sent[: 1 + cut % (len(sent) - 1)], [])


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "Deflate ", "deflate, x-gzip"])
def test_what_grows_comes_in_steps(encoding: str) -> None:
    """A reader can stop before all of it is made."""
    sent = ENCODINGS[encoding](bytes(40 * STEP))
    pieces = Decompressor(encoding).feed(sent)
    sizes = [len(piece) for piece in pieces]
    assert sum(sizes) == 40 * STEP
    assert max(sizes) == STEP


def test_nothing_is_nothing() -> None:
    for encoding in ("gzip", "deflate", ""):
        assert through(encoding, b"", []) == b""

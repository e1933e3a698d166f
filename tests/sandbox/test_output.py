"""What is kept of a long output."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.sandbox.output import Forward, HeadTail

MARKER = re.compile(rb"\n\[\.\.\. (\d+) bytes left out \.\.\.\]\n")

chunks = st.lists(st.binary(max_size=200), max_size=30)


@given(cap=st.integers(0, 600), chunks=chunks)
def test_an_output_within_the_cap_is_whole_and_a_longer_one_keeps_both_ends(cap: int, chunks: list[bytes]) -> None:
    output = HeadTail(cap)
    for chunk in chunks:
        output.feed(chunk)
    whole = b"".join(chunks)
    value = output.value()
    assert output.total == len(whole)
    assert output.truncated == (len(whole) > cap)
    assert len(value) <= cap
    if len(whole) <= cap:
        assert value == whole
        return
    if cap < 60:  # perhaps no room for the line: only the ends
        return
    marks = [match for match in MARKER.finditer(value) if _fits(match, value, whole)]
    assert marks, value
    assert abs(marks[0].start() - (len(value) - marks[0].end())) <= 1


def _fits(match: re.Match[bytes], value: bytes, whole: bytes) -> bool:
    head, tail = value[: match.start()], value[match.end() :]
    return whole.startswith(head) and whole.endswith(tail) and int(match[1]) == len(whole) - len(head) - len(tail)


@given(cap=st.integers(0, 25), data=st.binary(min_size=26, max_size=100))
def test_a_tiny_cap_keeps_the_ends_without_a_line_between(cap: int, data: bytes) -> None:
    output = HeadTail(cap)
    output.feed(data)
    value = output.value()
    assert len(value) == cap
    assert value == data[: cap - cap // 2] + (data[-(cap // 2) :] if cap // 2 else b"")


@given(first=chunks, second=chunks)
def test_taking_starts_anew(first: list[bytes], second: list[bytes]) -> None:
    output, fresh = HeadTail(300), HeadTail(300)
    for chunk in first:
        output.feed(chunk)
    output.take()
    for chunk in second:
        output.feed(chunk)
        fresh.feed(chunk)
    assert (output.value(), output.total) == (fresh.value(), fresh.total)


def test_many_small_writes_are_cheap_to_keep() -> None:
    output = HeadTail(1000)
    for _ in range(200_000):
        output.feed(b"x")
    assert output.total == 200_000
    assert len(output._head) + len(output._tail) <= 3000


def test_a_negative_cap_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        HeadTail(-1)


def test_an_unbuffered_file_gets_all_of_it() -> None:
    class Slow(io.BytesIO):
        def write(self, data: object) -> int:
            return super().write(bytes(data)[:3])  # type: ignore[call-overload]

    file = Slow()
    forward = Forward(file)
    forward.feed(b"0123456789")
    assert (file.getvalue(), forward.total) == (b"0123456789", 10)

"""What engines send, however it is cut into pieces on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.sandbox.docker.exec_stream import EngineRefused, Stream
from pytest_hermes.sandbox.stream_markers import MarkedStream

MARK = "hermes:0123:"
PREFIX = b"\0" + MARK.encode()

#: Bytes of a command, among them what marks begin with.
outputs = st.lists(st.sampled_from([b"\0", PREFIX[:5], PREFIX[:-1], b"x", b"\n\xff"]), max_size=8).map(b"".join)
cuts = st.lists(st.integers(1, 9), min_size=1)


def pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    position = number = 0
    while position < len(data):
        size = sizes[number % len(sizes)]
        yield data[position : position + size]
        position, number = position + size, number + 1


def unexpected(*given: object) -> None:
    pytest.fail(f"called with {given}")


@given(before=outputs, during=outputs, after=outputs, code=st.integers(0, 255), sizes=cuts)
def test_marks_are_found_and_all_else_is_passed_on(
    before: bytes, during: bytes, after: bytes, code: int, sizes: list[int]
) -> None:
    seen, events = bytearray(), []
    stream = MarkedStream(MARK, seen.extend, begun=lambda: events.append(len(seen)), ended=events.append)
    sent = before + PREFIX + b"beg\n" + during + PREFIX + b"%03d\n" % code + after
    for piece in pieces(sent, sizes):
        stream.feed(piece)
    stream.finish()
    assert seen == before + during
    assert events == [len(before), code]


@given(output=outputs, sizes=cuts)
def test_what_only_looks_like_a_mark_is_passed_on_at_the_end(output: bytes, sizes: list[int]) -> None:
    seen = bytearray()
    stream = MarkedStream(MARK, seen.extend, begun=unexpected, ended=unexpected)
    for piece in pieces(output, sizes):
        stream.feed(piece)
    stream.finish()
    assert seen == output


@given(frames=st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20))), sizes=cuts)
def test_streams_are_told_apart(frames: list[tuple[int, bytes]], sizes: list[int]) -> None:
    head = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\n\r\n"
    sent = head + b"".join(bytes([number, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for number, data in frames)
    seen: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}

    async def receive() -> None:
        stream = Stream(seen[1].extend, seen[2].extend)
        for piece in pieces(sent, sizes):
            stream.data_received(piece)
        stream.connection_lost(None)
        await stream.opened
        await stream.ended

    asyncio.run(receive())
    for number, found in seen.items():
        assert found == b"".join(data for there, data in frames if there == number)


@given(sizes=cuts, chunked=st.booleans())
def test_what_an_engine_refuses_is_told(sizes: list[int], chunked: bool) -> None:
    body = b'{"message":"no such exec"}\n'
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    if chunked:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)

    async def receive() -> None:
        stream = Stream(unexpected, unexpected)
        for piece in pieces(b"HTTP/1.1 404 Not Found\r\n" + length + b"\r\n\r\n" + body, sizes):
            stream.data_received(piece)
        with pytest.raises(EngineRefused, match=r"^no such exec$"):
            await stream.opened

    asyncio.run(receive())

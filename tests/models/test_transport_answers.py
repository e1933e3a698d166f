"""What an answer may be: any bytes, any status, compressed or not, up to a longest size."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from pytest_hermes.models.transport import LONGEST_ANSWER, Answer, Request, Transport, fetch
from tests.services.transport_failure import failure_of
from tests.services.wire_server import Serve, WireServer, once, response


async def answer_to(transport: Transport, data: bytes, longest: int = LONGEST_ANSWER) -> Answer:
    """Return the answer that a server gives as these bytes, after which it closes the connection."""
    async with WireServer(once(data)) as server:
        return await fetch(transport, Request(server.origin, {}, longest=longest))


@pytest.mark.parametrize(
    ("data", "headers", "text"),
    [
        (b'{"a": 1}', {}, '{"a": 1}'),
        (b'\xef\xbb\xbf{"a": 1}', {}, '{"a": 1}'),
        ("naïve".encode(), {"Content-Type": "text/plain; charset=latin-1"}, "naïve"),  # it claims what it is not
        ("naïve".encode("latin-1"), {"Content-Type": 'text/plain; charset="ISO-8859-1"'}, "naïve"),
        (b"na\xefve \xff", {}, "na\ufffdve \ufffd"),
        (b"na\xefve", {"Content-Type": "text/plain; charset=nonsense"}, "na\ufffdve"),
        (b"na\xefve", {"Content-Type": "text/plain; charset=zlib"}, "na\ufffdve"),
    ],
)
async def test_any_bytes_are_a_text(transport: Transport, data: bytes, headers: dict[str, str], text: str) -> None:
    assert (await answer_to(transport, response(data, headers=headers))).text == text


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ('{"a": [1]}', {"a": [1]}),
        ("null", None),
        ("", ""),
        ("<html>", "<html>"),
        ('{"a": ', '{"a": '),
        ("[" * 100_000, "[" * 100_000),
        ("9" * 5000, "9" * 5000),
    ],
)
async def test_what_is_not_json_is_its_text(transport: Transport, text: str, body: object) -> None:
    assert (await answer_to(transport, response(text.encode()))).body == body


@pytest.mark.parametrize("status", [204, 300, 400, 404, 418, 429, 500, 503, 599])
async def test_every_status_is_an_answer(transport: Transport, status: int) -> None:
    data = response(b"", f"{status} As It Is", {"Retry-After": "3"})
    answer = await answer_to(transport, data)
    assert (answer.status, answer.reason, answer.headers["retry-after"], answer.text) == (status, "As It Is", "3", "")


async def test_a_body_may_end_with_the_connection(transport: Transport) -> None:
    answer = await answer_to(transport, b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"a": 1}')
    assert answer.body == {"a": 1}


async def test_long_headers_are_taken(transport: Transport) -> None:
    """Gateways send policies and cookies of many kilobytes."""
    answer = await answer_to(transport, response({}, headers={"X-Policy": "x" * 30_000}))
    assert len(answer.headers["x-policy"]) == 30_000


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


TEXT = json.dumps({"text": "Hello. " * 1000}).encode()


def gzipped(data: bytes) -> bytes:
    # Without the time, which would be another in the id of a test in each process.
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", gzipped(TEXT)),
        ("x-gzip", gzipped(TEXT)),
        ("GZIP", gzipped(TEXT[:9]) + gzipped(TEXT[9:]) + b"\0\0"),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("deflate, gzip", gzipped(zlib.compress(TEXT))),
        ("identity", TEXT),
        ("", TEXT),
    ],
)
async def test_a_compressed_answer_is_decompressed(transport: Transport, encoding: str, data: bytes) -> None:
    answer = await answer_to(transport, response(data, headers={"Content-Encoding": encoding}))
    assert answer.text.encode() == TEXT


@pytest.mark.parametrize(
    ("encoding", "data", "problem"),
    [
        ("gzip", TEXT, "it is not gzip, as it claims to be"),
        ("deflate", b"\xff" * 99, "it is not deflate, as it claims to be"),
        ("gzip", gzipped(TEXT)[:-20], "its gzip ends in the middle"),
        ("gzip", b"\x1f", "its gzip ends in the middle"),
        ("br", b"\x0b\x02\x80", "it is compressed by 'br', which was not asked for"),
    ],
)
async def test_an_answer_that_cannot_be_decompressed_is_not_asked_for_again(
    transport: Transport, encoding: str, data: bytes, problem: str
) -> None:
    async with WireServer(once(response(data, headers={"Content-Encoding": encoding}))) as server:
        error = await failure_of(transport, Request(server.origin, {}))
    assert error.failure == "unreadable"
    assert error.reason.startswith(problem)


def bomb(layers: int) -> bytes:
    data = bytes(2**26)
    for _ in range(layers):
        data = gzip.compress(data)
    return data


@pytest.mark.parametrize(
    "serve",
    [
        once(response(b"x" * 2**21)),
        once(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2**21),
        once(response(bomb(1), headers={"Content-Encoding": "gzip"})),
        once(response(bomb(2), headers={"Content-Encoding": "gzip, gzip"})),
    ],
    ids=["told", "untold", "gzip", "gzip in gzip"],
)
async def test_an_answer_has_a_longest_size(transport: Transport, serve: Serve) -> None:
    async with WireServer(serve) as server:
        error = await failure_of(transport, Request(server.origin, {}, longest=2**20))
    assert (error.failure, error.reason) == ("unreadable", "it is longer than 1 MB")


async def test_the_longest_answer_is_taken(transport: Transport) -> None:
    answer = await answer_to(transport, response(b"x" * 2**20), longest=2**20)
    assert len(answer.text) == 2**20

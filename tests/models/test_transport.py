"""What a client of HTTP has to do for the endpoints above it: any implementation of `Transport` passes these tests."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket

import pytest

from pytest_hermes.models.transport import Failure, Request, Transport, TransportError, fetch
from tests.services.transport_failure import failure_of
from tests.services.wire_server import Connection, Serve, WireServer, always, once, response

from .conftest import Implementation

GOOD = response({"text": "Hello."})


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


# What is sent.


async def test_a_body_is_posted_as_json(transport: Transport) -> None:
    async with WireServer(always(GOOD)) as server:
        body = {"model": "m", "text": "naïve 🎈\n", "number": 0.1}
        await fetch(transport, Request(f"{server.origin}/v1/x?a=b", body, {"Authorization": "Bearer k", "X-Own": "1"}))
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/v1/x?a=b")
    assert json.loads(request.body) == body
    assert (request.headers["authorization"], request.headers["x-own"]) == ("Bearer k", "1")
    assert request.headers["content-type"] == "application/json"


async def test_without_a_body_it_is_a_get(transport: Transport) -> None:
    async with WireServer(always(GOOD)) as server:
        answer = await fetch(transport, Request(f"{server.origin}/models"))
    (request,) = server.requests
    assert (request.method, request.target, request.body) == ("GET", "/models", b"")
    assert (answer.status, answer.reason, answer.body) == (200, "OK", {"text": "Hello."})
    assert answer.headers["CONTENT-type"] == "application/json"


async def test_what_json_cannot_hold_is_replaced(transport: Transport) -> None:
    async with WireServer(always(GOOD)) as server:
        await fetch(transport, Request(server.origin, {"text": "half \ud83d", "number": float("nan")}))
    assert json.loads(server.requests[0].body) == {"text": "half \ufffd", "number": None}


async def test_no_cookie_is_kept(transport: Transport) -> None:
    async with WireServer(always(response({}, headers={"Set-Cookie": "who=first; Path=/"}))) as server:
        for _ in range(2):
            await fetch(transport, Request(server.origin, {}))
    assert "cookie" not in server.requests[1].headers


# Connections.


async def test_a_connection_is_used_again(transport: Transport) -> None:
    async with WireServer(always(GOOD)) as server:
        for number in range(20):
            await fetch(transport, Request(server.origin, {"number": number}))
    assert len(server.connections) == 1
    assert [json.loads(request.body)["number"] for request in server.requests] == list(range(20))


async def test_each_of_many_requests_at_once_has_its_own(transport: Transport) -> None:
    async with WireServer(echo_late) as server:
        answers = await asyncio.gather(
            *(fetch(transport, Request(server.origin, {"number": number})) for number in range(100))
        )
    assert [answer.body["number"] for answer in answers] == list(range(100))
    assert len(server.connections) == 100


async def echo_late(connection: Connection) -> None:
    while True:
        request = await connection.request()
        await asyncio.sleep(0.2)
        await connection.send(response(request.body))


async def test_a_connection_that_the_server_closed_is_not_used(transport: Transport) -> None:
    async with WireServer(once(GOOD)) as server:
        for _ in range(5):
            await fetch(transport, Request(server.origin, {}))
            await asyncio.sleep(0.02)
    assert len(server.connections) == 5


async def test_nothing_is_left_open(transport: Transport) -> None:
    """Neither by answers nor by failures, once the transport is closed."""

    async def warm_up_and_close() -> None:
        async with WireServer(always(GOOD)) as server:
            await fetch(transport, Request(server.origin, {}))
        await transport.close()

    await warm_up_and_close()
    before = open_files()
    for _ in range(3):
        async with WireServer(always(GOOD)) as server, WireServer(hang) as hanging, WireServer(once(b"?")) as broken:
            good = [fetch(transport, Request(server.origin, {})) for _ in range(10)]
            late = [fetch(transport, Request(hanging.origin, {}, seconds=0.1)) for _ in range(10)]
            bad = [fetch(transport, Request(broken.origin, {})) for _ in range(10)]
            outcomes = await asyncio.gather(*good, *late, *bad, return_exceptions=True)
            assert [isinstance(outcome, TransportError) for outcome in outcomes] == [False] * 10 + [True] * 20
        await transport.close()
        await asyncio.sleep(0.02)
    assert open_files() <= before


async def test_it_works_again_after_it_was_closed(transport: Transport) -> None:
    async with WireServer(always(GOOD)) as server:
        for _ in range(2):
            assert (await fetch(transport, Request(server.origin, {}))).status == 200
            await transport.close()


def test_it_may_be_used_by_one_loop_after_another(
    implementation: Implementation,
) -> None:
    transport = implementation({})

    async def ask() -> int:
        async with WireServer(always(GOOD)) as server:
            status = (await fetch(transport, Request(server.origin, {}))).status
            await transport.close()
            return status

    assert [asyncio.run(ask()) for _ in range(2)] == [200, 200]


# Time, and an end from outside.


async def hang(connection: Connection) -> None:
    await connection.request()
    await connection.until_closed()


async def trickle(connection: Connection) -> None:
    await connection.request()
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        await connection.send(b"x")
        await asyncio.sleep(0.02)


async def go_round(connection: Connection) -> None:
    while True:
        await connection.request()
        await asyncio.sleep(0.15)
        await connection.send(response(b"", "307 Temporary Redirect", {"Location": "/again"}))


@pytest.mark.parametrize("serve", [hang, trickle, go_round])
async def test_the_time_is_that_of_the_whole_request(transport: Transport, serve: Serve) -> None:
    async with WireServer(serve) as server:
        began = asyncio.get_running_loop().time()
        error = await failure_of(transport, Request(server.origin, {}, seconds=0.4))
        assert asyncio.get_running_loop().time() - began < 3
    assert (error.failure, error.reason) == ("late", "did not answer within 0.4 s")


async def test_what_is_cancelled_ends_its_connection_and_no_other(transport: Transport) -> None:
    async with WireServer(hang) as hanging, WireServer(echo_late) as server:
        other = asyncio.create_task(fetch(transport, Request(server.origin, {"number": 7})))
        asking = asyncio.create_task(fetch(transport, Request(hanging.origin, {})))
        await hanging.asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(5):
            await hanging.connections[0].closed.wait()
        assert (await other).body == {"number": 7}


# Streams.


async def test_what_has_come_of_an_answer_is_there_before_its_end(transport: Transport) -> None:
    go_on = asyncio.Event()

    async def serve(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for data in (b"data: one\n\n", b"data: two\n\n"):
            await connection.send(b"%x\r\n%s\r\n" % (len(data), data))
            await go_on.wait()
        await connection.send(b"0\r\n\r\n")

    async with WireServer(serve) as server, transport.stream(Request(server.origin, {"stream": True})) as answer:
        assert answer.status == 200
        chunks = answer.chunks()
        assert await anext(chunks) == b"data: one\n\n"
        go_on.set()
        assert b"".join([chunk async for chunk in chunks]) == b"data: two\n\n"


async def test_a_stream_that_is_left_is_closed(transport: Transport) -> None:
    async def serve(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await connection.until_closed()

    async with WireServer(serve) as server:
        async with transport.stream(Request(server.origin, {})) as answer:
            assert await anext(answer.chunks()) == b"one"
        async with asyncio.timeout(5):
            await server.connections[0].closed.wait()


# What is not an answer.

FAILURES: dict[str, tuple[bytes, Failure, str]] = {
    "nothing": (b"", "broken", "peer closed connection without an answer"),
    "half a head": (GOOD[:20], "broken", "peer closed connection without an answer"),
    "half a body": (GOOD[:-5], "broken", "peer closed connection before its answer was complete"),
    "half a chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n99\r\nabc",
        "broken",
        "peer closed connection before its answer was complete",
    ),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "address", "does not answer in HTTP: "),
    "a TLS alert": (b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n", "address", "answers with TLS: is it https://?"),
    "a long header": (response(headers={"X": "x" * 100_000}), "address", "sent headers that are too long: "),
    "a long status": (b"HTTP/1.1 200 " + b"x" * 100_000, "address", "sent headers that are too long: "),
}


@pytest.mark.parametrize(("data", "kind", "problem"), FAILURES.values(), ids=FAILURES)
async def test_what_comes_in_place_of_an_answer(transport: Transport, data: bytes, kind: Failure, problem: str) -> None:
    async with WireServer(once(data)) as server:
        error = await failure_of(transport, Request(server.origin, {}))
    assert error.failure == kind
    assert error.reason.startswith(problem)


async def test_a_reset_is_told_in_the_system_s_words(transport: Transport) -> None:
    async def serve(connection: Connection) -> None:
        await connection.request()
        connection.reset()

    async with WireServer(serve) as server:
        error = await failure_of(transport, Request(server.origin, {}))
    assert (error.failure, error.reason) == ("broken", "Connection reset by peer")


async def test_nobody_listens(transport: Transport) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening
        error = await failure_of(transport, Request(f"http://127.0.0.1:{taken.getsockname()[1]}", {}))
    assert (error.failure, error.reason) == ("unreachable", "Connection refused")
    error = await failure_of(transport, Request("http://nowhere.invalid", {}))
    assert error.failure == "unreachable"
    assert "not known" in error.reason


async def test_a_machine_out_of_files_is_not_the_endpoint_s_fault(transport: Transport) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with WireServer(always(GOOD)) as server:
        await fetch(transport, Request(server.origin, {}))
        await transport.close()
        os.close(first_free := os.dup(0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, hard))
        try:
            error = await failure_of(transport, Request(server.origin, {}))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (error.failure, error.reason) == ("local", "Too many open files")

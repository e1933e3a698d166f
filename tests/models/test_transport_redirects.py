"""Redirects: a request holds a key and prompts, which must not go where nobody sent them."""

from __future__ import annotations

import re

import pytest

from pytest_hermes.models.transport import Request, Transport, fetch
from tests.services.transport_failure import failure_of
from tests.services.wire_server import Connection, Serve, WireServer, always, response

GOOD = response({"text": "Hello."})


def leads_to(location: str, status: int = 307) -> Serve:
    """Return what redirects each request once."""

    async def serve(connection: Connection) -> None:
        while True:
            request = await connection.request()
            moved = request.target != "/there"
            await connection.send(response(b"", f"{status} Moved", {"Location": location}) if moved else GOOD)

    return serve


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_at_the_same_host_is_followed(transport: Transport, status: int) -> None:
    async with WireServer(leads_to("/there", status)) as server:
        answer = await fetch(transport, Request(f"{server.origin}/here", {"a": 1}, {"Authorization": "Bearer k"}))
    assert answer.body == {"text": "Hello."}
    first, second = server.requests
    assert (second.method, second.body, second.headers) == ("POST", first.body, first.headers)
    assert len(server.connections) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_get_follows_each_of_them(transport: Transport, status: int) -> None:
    async with WireServer(leads_to("/there", status)) as server:
        assert (await fetch(transport, Request(f"{server.origin}/here"))).status == 200


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_nothing_is_sent_to_another_host(transport: Transport, status: int) -> None:
    async with (
        WireServer(always(GOOD)) as other,
        WireServer(leads_to(f"http://user:secret@localhost:{other.port}/there?key=secret", status)) as server,
    ):
        for body in ({"a": 1}, None):
            error = await failure_of(transport, Request(f"{server.origin}/here", body))
            assert error.failure == "address"
            assert f"redirects to another host, http://localhost:{other.port}/there: nothing was sent" in error.reason
            assert "secret" not in error.reason
    assert other.connections == []


@pytest.mark.parametrize(
    ("location", "status", "problem"),
    [
        ("/there", 301, r"redirects to http://127.0.0.1:\d+/there: name that as the base address"),
        ("/here", 307, "redirects more than 6 times"),
        ("http://[", 307, "redirects to something that is not a URL"),
        ("ftp://127.0.0.1/there", 307, "redirects to another host, ftp://127.0.0.1/there"),
    ],
)
async def test_a_redirect_that_cannot_be_followed_is_refused(
    transport: Transport, location: str, status: int, problem: str
) -> None:
    async with WireServer(leads_to(location, status)) as server:
        error = await failure_of(transport, Request(f"{server.origin}/here", {}))
    assert error.failure == "address"
    assert re.match(problem, error.reason)

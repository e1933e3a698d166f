"""Proxies, by the variables that name them."""

from __future__ import annotations

import base64
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_hermes.errors import UsageError
from pytest_hermes.models.proxies import proxy_for
from pytest_hermes.models.transport import Request, fetch
from tests.services import certificates
from tests.services.required import require
from tests.services.transport_failure import failure_of
from tests.services.wire_server import Connection, WireServer, always, response

from .conftest import Implementation

GOOD = response({"text": "Hello."})


async def test_a_request_goes_through_the_proxy(implementation: Implementation) -> None:
    async with WireServer(always(GOOD)) as proxy:
        transport = implementation({"HTTP_PROXY": proxy.origin})
        answer = await fetch(transport, Request("http://model.example/v1/x", {"a": 1}, {"Authorization": "Bearer k"}))
        await transport.close()
    assert answer.body == {"text": "Hello."}
    (request,) = proxy.requests
    assert (request.method, request.target) == ("POST", "http://model.example/v1/x")
    assert (request.headers["host"], request.headers["authorization"]) == ("model.example", "Bearer k")


async def test_a_proxy_gets_its_user_name_and_password(implementation: Implementation) -> None:
    async with WireServer(always(GOOD)) as proxy:
        url = proxy.origin.replace("://", "://na%C3%AFve:p%40ss@")
        transport = implementation({"http_proxy": url})
        await fetch(transport, Request("http://model.example/v1", {}))
        await transport.close()
    kind, _, encoded = proxy.requests[0].headers["proxy-authorization"].partition(" ")
    assert (kind, base64.b64decode(encoded).decode()) == ("Basic", "naïve:p@ss")


@pytest.mark.parametrize("certified", ["192.0.2.1", "192.0.2.2"])
async def test_https_goes_through_a_tunnel(implementation: Implementation, tmp_path: Path, certified: str) -> None:
    """The tunnel ends on this machine, but what is asked, and has to show its certificate, is another one."""

    async def serve(connection: Connection) -> None:
        await connection.request()
        await connection.tunnel("127.0.0.1", server.port)

    require("openssl", certificates.problem())
    certificate = certificates.make_certificate(tmp_path, f"IP:{certified}")
    async with WireServer(always(GOOD), certificate.server_context()) as server, WireServer(serve) as proxy:
        url = proxy.origin.replace("://", "://user:secret@")
        transport = implementation({"HTTPS_PROXY": url, "SSL_CERT_FILE": str(certificate.path)})
        request = Request("https://192.0.2.1/v1", {"a": 1}, {"Authorization": "Bearer k"})
        if certified == "192.0.2.1":
            for _ in range(2):
                assert (await fetch(transport, request)).body == {"text": "Hello."}
            assert server.requests[0].headers["authorization"] == "Bearer k"
            assert "proxy-authorization" not in server.requests[0].headers
        else:
            error = await failure_of(transport, request)
            assert (error.failure, error.proxy) == ("address", None)
            assert "certificate is not valid for '192.0.2.1'" in error.reason
            assert server.requests == []
        await transport.close()
    (tunnelled,) = proxy.requests
    assert (tunnelled.method, tunnelled.target) == ("CONNECT", "192.0.2.1:443")
    assert "authorization" not in tunnelled.headers
    assert tunnelled.headers["proxy-authorization"].startswith("Basic ")


async def test_a_dead_proxy_is_named(implementation: Implementation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for scheme in ("http", "https"):
            transport = implementation({"ALL_PROXY": url.replace("://", "://user:secret@")})
            error = await failure_of(transport, Request(f"{scheme}://model.example/v1", {}))
            await transport.close()
            assert (error.failure, error.reason) == ("unreachable", "Connection refused")
            assert error.proxy == f"{url} (ALL_PROXY)"


@pytest.mark.parametrize(
    ("scheme", "answer", "kind", "problem"),
    [
        ("http", "407 Proxy Authentication Required", "address", "wants a user name and password"),
        ("https", "407 Proxy Authentication Required", "address", "wants a user name and password"),
        ("https", "403 Forbidden", "address", "answered 403: Forbidden"),
        ("https", "502 Bad Gateway", "unreachable", "it answered 502: Bad Gateway"),
    ],
)
async def test_what_a_proxy_refuses_is_told_of_the_proxy(
    implementation: Implementation, scheme: str, answer: str, kind: str, problem: str
) -> None:
    async with WireServer(always(response(b"", answer))) as proxy:
        transport = implementation({f"{scheme}_proxy": proxy.origin})
        error = await failure_of(transport, Request(f"{scheme}://model.example/v1", {}))
        await transport.close()
    assert (error.failure, error.reason, error.proxy) == (kind, problem, f"{proxy.origin} ({scheme}_proxy)")


async def test_this_machine_is_asked_directly(implementation: Implementation) -> None:
    async with WireServer(always(GOOD)) as server, WireServer(always(GOOD)) as proxy:
        transport = implementation({"HTTP_PROXY": proxy.origin, "ALL_PROXY": proxy.origin})
        for host in ("127.0.0.1", "localhost"):
            await fetch(transport, Request(f"http://{host}:{server.port}/v1", {}))
        await transport.close()
    assert (len(server.requests), proxy.connections) == (2, [])


PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("url", "environ", "variable"),
    [
        ("http://a.example/v1", {"HTTP_PROXY": PROXY}, "HTTP_PROXY"),
        ("https://a.example/v1", {"HTTP_PROXY": PROXY}, None),
        ("https://a.example/v1", {"https_proxy": PROXY, "HTTPS_PROXY": "http://b.example"}, "https_proxy"),
        ("https://a.example/v1", {"ALL_PROXY": PROXY, "HTTP_PROXY": PROXY}, "ALL_PROXY"),
        ("https://a.example/v1", {"HTTPS_PROXY": "", "all_proxy": PROXY}, "all_proxy"),
        # Of a CGI script, it is what a client sent.
        ("http://a.example/v1", {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, None),
        ("http://a.example/v1", {"http_proxy": PROXY, "REQUEST_METHOD": "GET"}, "http_proxy"),
        ("http://localhost:8000/v1", {"HTTP_PROXY": PROXY}, None),
        ("http://box.localhost/v1", {"HTTP_PROXY": PROXY}, None),
        ("http://127.1.2.3/v1", {"HTTP_PROXY": PROXY}, None),
        ("http://[::1]:8000/v1", {"HTTP_PROXY": PROXY}, None),
        ("http://localhost.example/v1", {"HTTP_PROXY": PROXY}, "HTTP_PROXY"),
    ],
)
def test_a_variable_names_the_proxy(url: str, environ: Mapping[str, str], variable: str | None) -> None:
    proxy = proxy_for(url, environ)
    assert (proxy and proxy.variable) == variable
    assert proxy is None or proxy.url == PROXY


@pytest.mark.parametrize(
    ("no_proxy", "exempt"),
    [
        ("*", True),
        ("a.example", True),
        ("example", True),
        (".example", True),
        ("*.example", True),
        ("A.Example", True),
        ("b.example, a.example", True),
        ("b.example a.example", True),
        ("a.example:8000", True),
        ("http://a.example", True),
        ("a.example:80", False),
        ("aa.example", False),
        (".a.example.org", False),
        ("", False),
        (",", False),
    ],
)
def test_no_proxy_exempts_domains(no_proxy: str, exempt: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        proxy = proxy_for("http://a.example:8000/v1", {"HTTP_PROXY": PROXY, name: no_proxy})
        assert (proxy is None) == exempt


@pytest.mark.parametrize(
    ("no_proxy", "exempt"),
    [
        ("10.1.2.3", True),
        ("10.0.0.0/8", True),
        ("10.1.2.3:8000", True),
        ("10.1.2.3:80", False),
        ("11.0.0.0/8", False),
        ("2.3", False),
        ("::/0", False),
    ],
)
def test_no_proxy_exempts_addresses(no_proxy: str, exempt: bool) -> None:
    proxy = proxy_for("http://10.1.2.3:8000/v1", {"HTTP_PROXY": PROXY, "NO_PROXY": no_proxy})
    assert (proxy is None) == exempt


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("proxy.example", "http://proxy.example:1080"),
        ("proxy.example:3128", PROXY),
        ("https://proxy.example", "https://proxy.example:443"),
        ("http://[2001:db8::1]:3128/", "http://[2001:db8::1]:3128"),
    ],
)
def test_a_proxy_may_be_named_in_short(value: str, url: str) -> None:
    proxy = proxy_for("http://a.example/v1", {"HTTP_PROXY": value})
    assert proxy is not None
    assert proxy.url == url


@pytest.mark.parametrize("value", ["socks5://user:secret@proxy.example:1080", "socks5h://proxy.example", "socks4://p"])
def test_a_socks_proxy_is_refused_before_the_run(implementation: Implementation, value: str) -> None:
    with pytest.raises(UsageError, match=r"^ALL_PROXY names a SOCKS proxy, which model calls cannot use: ") as caught:
        implementation({"ALL_PROXY": value}).check("https://model.example/v1")
    assert "secret" not in str(caught.value)
    implementation({"ALL_PROXY": value}).check("http://127.0.0.1:8000/v1")
    implementation({"ALL_PROXY": value, "NO_PROXY": "model.example"}).check("https://model.example/v1")


@pytest.mark.parametrize("value", ["ftp://proxy.example", "http://", "http://proxy.example:port", "http://[", "://"])
def test_what_is_not_an_address_of_a_proxy_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match=r"^HTTP_PROXY is not the address of a proxy"):
        proxy_for("http://a.example/v1", {"HTTP_PROXY": value})


def test_a_proxy_does_not_show_its_password() -> None:
    proxy = proxy_for("http://a.example/v1", {"HTTP_PROXY": "http://user:secret@proxy.example:3128"})
    assert proxy is not None
    assert proxy.credentials == ("user", "secret")
    assert "secret" not in repr(proxy) + str(proxy)

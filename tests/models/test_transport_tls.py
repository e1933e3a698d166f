"""Certificates and the variables that name the trusted ones, and what is not TLS at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_hermes.errors import UsageError
from pytest_hermes.models.transport import Request, Transport, fetch
from tests.services.certificates import Certificate, make_certificate
from tests.services.transport_failure import failure_of
from tests.services.wire_server import Connection, WireServer, always, response

from .conftest import Implementation

GOOD = response({"text": "Hello."})


async def test_a_certificate_that_nobody_vouches_for_is_refused(transport: Transport, certificate: Certificate) -> None:
    async with WireServer(always(GOOD), certificate.server_context()) as server:
        error = await failure_of(transport, Request(server.origin, {}))
    assert error.failure == "address"
    assert error.reason == (
        "has a certificate that is not trusted: self-signed certificate (SSL_CERT_FILE may name its authority)"
    )
    assert server.requests == []


async def test_a_certificate_of_another_host_is_refused(implementation: Implementation, tmp_path: Path) -> None:
    other = make_certificate(tmp_path, "DNS:elsewhere.example")
    transport = implementation({"SSL_CERT_FILE": str(other.path)})
    async with WireServer(always(GOOD), other.server_context()) as server:
        error = await failure_of(transport, Request(server.origin, {}))
    await transport.close()
    assert error.failure == "address"
    assert "IP address mismatch, certificate is not valid for '127.0.0.1'" in error.reason
    assert server.requests == []


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"])
async def test_the_environment_names_whom_to_trust(
    implementation: Implementation, certificate: Certificate, tmp_path: Path, variable: str
) -> None:
    path = certificate.path
    if variable == "SSL_CERT_DIR":
        path = certificate.folder(tmp_path)
    transport = implementation({variable: str(path)})
    async with WireServer(always(GOOD), certificate.server_context()) as server:
        transport.check(server.origin)
        for _ in range(3):
            assert (await fetch(transport, Request(server.origin, {}))).body == {"text": "Hello."}
    await transport.close()
    assert len(server.connections) == 1


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_setting_that_names_no_certificates_is_told_before_the_run(
    implementation: Implementation, tmp_path: Path, variable: str
) -> None:
    empty = tmp_path / "empty.pem"
    with pytest.raises(UsageError, match=f"^{variable}: cannot read {empty}: No such file or directory$"):
        implementation({variable: str(empty)}).check("https://model.example/v1")
    empty.write_text("nothing of the kind")
    with pytest.raises(UsageError, match=f"^{variable}: {empty} holds no certificates in PEM format$"):
        implementation({variable: str(empty)}).check("https://model.example/v1")
    implementation({variable: str(empty)}).check("http://model.example/v1")  # which needs none


async def test_http_at_an_address_of_https(transport: Transport) -> None:
    async def serve(connection: Connection) -> None:
        await connection.send(response(b"", "400 Bad Request"))
        await connection.until_closed()

    async with WireServer(serve) as server:
        error = await failure_of(transport, Request(server.origin.replace("http:", "https:"), {}))
    assert (error.failure, error.reason) == ("address", "does not speak TLS: is it http://?")


async def test_https_at_an_address_of_http(transport: Transport, certificate: Certificate) -> None:
    """The server may answer with an alert, or close the connection."""
    async with WireServer(always(GOOD), certificate.server_context()) as server:
        error = await failure_of(transport, Request(server.origin.replace("https:", "http:"), {}))
    assert (error.failure, error.reason) in [
        ("address", "answers with TLS: is it https://?"),
        ("broken", "peer closed connection without an answer"),
        ("broken", "Connection reset by peer"),
    ]


@pytest.mark.parametrize("folder", ["missing", ""])
def test_keys_of_connections_are_logged_where_that_is_possible(
    certificate: Certificate, tmp_path: Path, folder: str
) -> None:
    """Of a new process: the HTTP client looks at the variable when it is imported."""
    key_log = tmp_path / folder / "keys.txt"
    program = """if True:
        import asyncio, os, ssl, sys
        from pytest_hermes.models.aiohttp_transport import AiohttpTransport
        from pytest_hermes.models.transport import Request, fetch
        from tests.services.certificates import Certificate
        from tests.services.wire_server import Connection, WireServer, always, response
        from pathlib import Path

        async def main() -> None:
            certificate = Certificate(Path(sys.argv[1]), Path(sys.argv[2]))
            transport = AiohttpTransport()
            async with WireServer(always(response({"text": "Hello."})), certificate.server_context()) as server:
                print((await fetch(transport, Request(server.origin, {}))).body["text"], os.environ["SSLKEYLOGFILE"])
            await transport.close()

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", program, certificate.path, certificate.key],
        env={**os.environ, "SSLKEYLOGFILE": str(key_log), "SSL_CERT_FILE": str(certificate.path)},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == f"Hello. {key_log}\n", done.stderr
    problem = f"SSLKEYLOGFILE is not used: cannot write {key_log}" if folder else ""
    assert done.stderr.strip() == problem
    assert key_log.exists() == (not folder)

"""What aiohttp raises, in the words of the seam: which failure it is, and one line about it."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import aiohttp

from ..core.one_line import first_line
from .proxies import Proxy
from .transport import CONNECT_SECONDS, Failure, TransportError

#: This machine has run out of something.
_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})

#: The connection ended during the handshake, as a server that is being restarted does it.
_ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)

#: What OpenSSL calls an answer that is not TLS.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"})

#: How a TLS alert begins (RFC 8446, 5.1), as it is shown of an answer that is not HTTP.
_ALERT = ("\\x15\\x03", "\x15\x03")


def transport_error(error: BaseException, proxy: Proxy | None) -> TransportError:
    """Return what became of a request that ended with this error of aiohttp or of the operating system."""
    reason, failure = _read(error)
    # By a tunnel, TLS and what comes after it are the endpoint's own.
    concerns_proxy = isinstance(error, aiohttp.ClientHttpProxyError) or failure in ("unreachable", "broken")
    return TransportError(reason, failure, proxy=str(proxy) if proxy is not None and concerns_proxy else None)


def _read(error: BaseException) -> tuple[str, Failure]:
    cause = _of_the_system(error)
    match error:
        case aiohttp.ClientHttpProxyError():
            return _of_proxy(error.status, error.message)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return _of_tls(cause)
        case aiohttp.ServerTimeoutError():
            return f"no connection within {CONNECT_SECONDS:g} s", "unreachable"
        case aiohttp.ClientConnectorError():
            return _said(cause), "local" if cause.errno in _LOCAL else "unreachable"
        case aiohttp.ServerDisconnectedError():
            return "peer closed connection without an answer", "broken"
        case aiohttp.ClientPayloadError():
            return "peer closed connection before its answer was complete", "broken"
        case aiohttp.ClientResponseError():
            return _not_http(error.message), "address"
    if isinstance(cause, ssl.SSLError):
        return _of_tls(cause)
    return _said(cause) or first_line(str(error)) or type(error).__name__, "broken"


def _of_the_system(error: BaseException) -> OSError:
    """Return the error of the operating system, of OpenSSL or of the resolver that another one stands for."""
    for name in ("certificate_error", "os_error"):
        inner = getattr(error, name, None)
        if isinstance(inner, OSError):
            return inner
        if isinstance(inner, ssl.CertificateError):
            return inner
    return error if isinstance(error, OSError) else OSError()


def _said(error: OSError) -> str:
    """Return the system's own words: asyncio and aiohttp put others in their place."""
    if isinstance(error, socket.gaierror | ssl.SSLError):  # their numbers are not the system's
        return first_line(error.strerror or "") or "unknown host"
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    # One that stands for several, of a host with several addresses.
    return first_line(str(error))


def _of_tls(error: OSError) -> tuple[str, Failure]:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = first_line(error.verify_message or str(error)).rstrip(".")
        return f"has a certificate that is not trusted: {why} (SSL_CERT_FILE may name its authority)", "address"
    if isinstance(error, _ENDED):
        return "peer closed connection during the TLS handshake", "broken"
    if getattr(error, "reason", None) in _NOT_TLS:
        return "does not speak TLS: is it http://?", "address"
    return f"cannot agree on TLS: {_said(error)}", "address"


def _of_proxy(status: int, message: str) -> tuple[str, Failure]:
    if status == 407:
        return "wants a user name and password", "address"
    said = f"answered {status}: {first_line(message)}"
    return (f"it {said}", "unreachable") if status >= 500 else (said, "address")


def _not_http(message: str) -> str:
    if any(alert in message for alert in _ALERT):
        return "answers with TLS: is it https://?"
    if "bytes when reading" in message:
        return f"sent headers that are too long: {first_line(message)}"
    lines = [line.strip() for line in message.splitlines()]
    return f"does not answer in HTTP: {first_line(' '.join(line for line in lines if line and line != '^'))}"

"""Whose certificates are trusted, by the environment variables that OpenSSL, httpx, requests and curl follow."""

from __future__ import annotations

import logging
import os
import ssl
import sys
from collections.abc import Mapping

from ..errors import UsageError

log = logging.getLogger("pytest_hermes.models")

#: The first one that is set decides, in place of the authorities that the system and certifi know.
FILES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
FOLDER = "SSL_CERT_DIR"

#: Names a file to which the keys of connections are written, for who looks into what is sent.
KEY_LOG = "SSLKEYLOGFILE"


def tls_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return what a server's certificate is checked by. Raises UsageError for a setting that names no certificates.

    It checks what `ssl.create_default_context` checks. That itself raises OSError where it cannot write SSLKEYLOGFILE.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    _load_authorities(context, environ)
    key_log = environ.get(KEY_LOG)
    if key_log and can_be_written(key_log):
        context.keylog_filename = key_log
    elif key_log:
        log.warning("%s is not used: cannot write %s", KEY_LOG, key_log)
    return context


def check_key_log(environ: Mapping[str, str]) -> None:
    """Raise UsageError where SSLKEYLOGFILE cannot be written: packages that look at it cannot be imported then."""
    path = environ.get(KEY_LOG)
    if path and not can_be_written(path):
        raise UsageError(f"{KEY_LOG}: cannot write {path}: name another file, or unset it")


def can_be_written(path: str) -> bool:
    """Return whether a file can be appended to; it is made, as OpenSSL makes it."""
    try:
        with open(path, "a"):
            return True
    except OSError:
        return False


def _load_authorities(context: ssl.SSLContext, environ: Mapping[str, str]) -> None:
    file = next((name for name in FILES if environ.get(name)), None)
    folder = FOLDER if environ.get(FOLDER) else None
    if file is None and folder is None:
        context.load_default_certs()
        _load_certifi(context)
        return
    for variable in (file, folder):
        if variable is not None:
            _load(context, variable, environ[variable])


def _load(context: ssl.SSLContext, variable: str, path: str) -> None:
    try:
        # requests takes a folder in the variable of a file.
        if os.path.isdir(path):
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise UsageError(f"{variable}: {path} holds no certificates in PEM format") from None
    except OSError as error:
        raise UsageError(f"{variable}: cannot read {path}: {error.strerror}") from None


def _load_certifi(context: ssl.SSLContext) -> None:
    """Add the authorities of certifi, if it is installed: a small container has none of its own."""
    try:
        import certifi
    except ImportError:
        return
    context.load_verify_locations(cafile=certifi.where())

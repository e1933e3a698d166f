"""A certificate of 127.0.0.1 that nobody trusts, made here."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    #: In PEM format; it is its own authority.
    path: Path
    key: Path

    def folder(self, folder: Path) -> Path:
        """Make a folder one of trusted certificates that holds this one, and return it."""
        shutil.copy(self.path, folder)
        subprocess.run(["openssl", "rehash", folder], check=True)
        return folder

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self.key)
        return context


def problem() -> str | None:
    """Return why none can be made, or None."""
    return None if shutil.which("openssl") else "openssl is not installed"


def make_certificate(folder: Path, address: str = "IP:127.0.0.1") -> Certificate:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=a test", "-addext", f"subjectAltName={address}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return Certificate(certificate, key)

"""Where the engine is: DOCKER_HOST, else the Docker CLI's current context, else the usual socket."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from ...errors import UsageError

if TYPE_CHECKING:
    from docker import APIClient

_CONNECT_TIMEOUT = 30.0  # seconds

P = TypeVar("P", bound=asyncio.Protocol)


@dataclass(frozen=True)
class Encryption:
    """How a connection is encrypted: paths of files, None where there is none."""

    ca: str | None
    #: The client's certificate and its key.
    certificate: tuple[str, str] | None
    #: Whether the engine must show a certificate of that `ca`.
    verify: bool

    def context(self) -> ssl.SSLContext:
        """Return what connections are made with. Raises OSError for files that cannot be read."""
        context = ssl.create_default_context(cafile=self.ca)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate:
            context.load_cert_chain(*self.certificate)
        return context


@dataclass(frozen=True)
class Address:
    """An engine's address. `url` is as a user writes it: `unix:///var/run/docker.sock`, `tcp://host:2376`."""

    url: str
    encryption: Encryption | None = None

    @property
    def can_half_close(self) -> bool:
        """Whether a connection can say that nothing more will be sent, and go on listening; TLS cannot."""
        return self.encryption is None

    def client(self, **options: Any) -> APIClient:
        """Return the docker SDK's client of this engine; `options` are its further ones. Raises what it raises."""
        import docker
        from docker.tls import TLSConfig

        class Client(docker.APIClient):
            # Else certificates that the environment names for the web would take the place of the engine's, and
            # requests would go by way of a proxy where `connect` does not.
            trust_env = property(lambda self: False, lambda self, value: None)

        tls = self.encryption
        return Client(
            base_url=self.url,
            tls=TLSConfig(client_cert=tls.certificate, ca_cert=tls.ca, verify=tls.verify) if tls else False,
            version="auto",
            **options,
        )

    def try_out(self) -> None:
        """Raise OSError when nobody listens at a Unix socket; of other addresses, only a request tells."""
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_CONNECT_TIMEOUT)
                probe.connect(parts.netloc + parts.path)

    async def connect(self, protocol: Callable[[], P]) -> P:
        """Open a connection to the engine. Raises OSError, also when that takes too long."""
        loop = asyncio.get_running_loop()
        parts = urlsplit(self.url)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                if parts.scheme == "unix":
                    _, connected = await loop.create_unix_connection(protocol, parts.netloc + parts.path)
                else:
                    context = self.encryption.context() if self.encryption else None
                    host, port = str(parts.hostname), int(parts.port or 0)
                    _, connected = await loop.create_connection(protocol, host, port, ssl=context)
        except TimeoutError:
            raise OSError(f"no connection within {_CONNECT_TIMEOUT:g} seconds") from None
        return connected


def engine_address(environ: Mapping[str, str] | None = None) -> Address:
    """Return the address of the engine that the Docker CLI would use as well.

    Raises UsageError for one that cannot be used, such as `ssh://`.
    """
    import docker.errors
    from docker.context import ContextAPI
    from docker.utils import kwargs_from_env, parse_host

    variables = dict(os.environ if environ is None else environ)
    named = "DOCKER_HOST" if variables.get("DOCKER_HOST") else "the current Docker context"
    try:
        options = kwargs_from_env(variables)
        if "base_url" not in options:
            options = {**ContextAPI.kwargs_from_context(environment=variables), **options}
        url = str(parse_host(options.get("base_url"), tls=bool(options.get("tls"))))
    except (docker.errors.DockerException, ValueError, OSError) as error:
        raise UsageError(f"{named} cannot be used: {error}") from error
    scheme, _, rest = url.partition("://")
    if scheme not in ("http+unix", "http", "https"):
        how = "set DOCKER_HOST to a Unix socket or to tcp://HOST:PORT"
        if scheme == "ssh":
            how = (
                "forward that engine's socket to this machine (ssh -L /tmp/docker.sock:/var/run/docker.sock HOST) "
                "and set DOCKER_HOST=unix:///tmp/docker.sock"
            )
        raise UsageError(f"{named} is {scheme.strip(':')}://…, which is not supported; {how}")
    known = {"http+unix": "unix", "http": "tcp", "https": "tcp"}[scheme]
    tls = options.get("tls")
    encryption = Encryption(tls.ca_cert or None, tls.cert or None, bool(tls.verify)) if tls else None
    return Address(f"{known}://{rest}", encryption)

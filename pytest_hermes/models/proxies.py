"""Which proxy a request goes through, by the environment variables that most programs follow.

They have no standard; these are curl's rules (https://curl.se/docs/manpage.html, "ENVIRONMENT"), and loopback is never
asked by way of a proxy.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

from ..errors import UsageError


@dataclass(frozen=True)
class Proxy:
    """A proxy, and how its user names it."""

    #: Without user name and password.
    url: str
    #: The environment variable.
    variable: str
    #: Not shown: it may hold a password.
    credentials: tuple[str, str] | None = field(default=None, repr=False)

    def headers(self) -> dict[str, str]:
        """Return what the proxy itself is to be sent (RFC 7617)."""
        if self.credentials is None:
            return {}
        encoded = base64.b64encode(":".join(self.credentials).encode()).decode()
        return {"Proxy-Authorization": f"Basic {encoded}"}

    def __str__(self) -> str:
        return f"{self.url} ({self.variable})"


def proxy_for(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for a URL, None where it is asked directly. Raises UsageError for one that cannot be used."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if is_loopback(host) or _is_exempt(host, parts.port or _port(parts.scheme), environ):
        return None
    for variable in _variables(parts.scheme, environ):
        if value := environ.get(variable, "").strip():
            return _read(value, variable)
    return None


def _variables(scheme: str, environ: Mapping[str, str]) -> list[str]:
    names = [f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"]
    # In a CGI script, it is the request's header `Proxy` (https://httpoxy.org).
    return [name for name in names if name != "HTTP_PROXY" or "REQUEST_METHOD" not in environ]


def _read(value: str, variable: str) -> Proxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    scheme = parts.scheme
    if scheme.startswith("socks"):
        raise UsageError(
            f"{variable} names a SOCKS proxy, which model calls cannot use: name an HTTP proxy, or exempt the endpoint "
            "with NO_PROXY"
        )
    if scheme not in ("http", "https") or not host:
        raise UsageError(f"{variable} is not the address of a proxy, such as http://proxy.example.org:3128")
    shown = f"[{host}]" if ":" in host else host
    # 1080 is curl's default.
    location = f"{shown}:{port or (443 if scheme == 'https' else 1080)}"
    credentials = None
    if parts.username is not None:
        credentials = (unquote(parts.username), unquote(parts.password or ""))
    return Proxy(urlunsplit((scheme, location, "", "", "")), variable, credentials)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _is_exempt(host: str, port: int, environ: Mapping[str, str]) -> bool:
    entries = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return any(_matches(host, port, entry.strip().lower()) for entry in entries.replace(" ", ",").split(","))


def _matches(host: str, port: int, entry: str) -> bool:
    """Return whether an entry of NO_PROXY means a host: a domain with all below it, an address, a network, or `*`."""
    if not entry:
        return False
    if entry == "*":
        return True
    # httpx knows entries as URLs.
    entry = entry.partition("://")[2] or entry
    if (address := _address(host)) is not None:
        return _in_network(address, entry) or _split(entry) in ((host, None), (host, port))
    domain, of_port = _split(entry)
    domain = domain.removeprefix("*").strip(".")
    return of_port in (None, port) and bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _in_network(address: ipaddress.IPv4Address | ipaddress.IPv6Address, entry: str) -> bool:
    try:
        return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False


def _split(entry: str) -> tuple[str, int | None]:
    """Return the host of an entry, and its port if it has one."""
    try:
        parts = urlsplit(f"//{entry}")
        return parts.hostname or "", parts.port
    except ValueError:
        return entry, None

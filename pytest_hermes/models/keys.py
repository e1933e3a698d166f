"""Which endpoint a run talks to, and which key belongs to it.

A key is sent only to the host it belongs to: OpenRouter's to openrouter.ai, OpenAI's to api.openai.com or to the
host that OPENAI_BASE_URL names, and PYTEST_HERMES_API_KEY to whatever `--hermes-base-url` names. A judge has
options and a key of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from ..errors import UsageError

OPENROUTER = "https://openrouter.ai/api/v1"
OPENAI = "https://api.openai.com/v1"

#: Headers of the user's own, one a line.
_CUSTOM = "OPENAI_CUSTOM_HEADERS"


@dataclass(frozen=True)
class Names:
    """By which names a user says who answers."""

    #: Options.
    model: str
    base_url: str
    #: The environment variable with the key of that base URL.
    api_key: str

    @property
    def how_to_configure(self) -> str:
        return (
            "set OPENROUTER_API_KEY, or OPENAI_API_KEY (and OPENAI_BASE_URL), "
            f"or pass {self.base_url}=http://localhost:8000/v1 for a server of your own"
        )


AGENT = Names("--hermes-model", "--hermes-base-url", "PYTEST_HERMES_API_KEY")
JUDGE = Names("--hermes-judge-model", "--hermes-judge-base-url", "PYTEST_HERMES_JUDGE_API_KEY")


@dataclass(frozen=True)
class Address:
    """A base URL and the key that may be sent to it; None where the endpoint wants none."""

    base_url: str
    #: Not shown: it must not appear in a traceback.
    api_key: str | None = field(repr=False)
    #: The environment variable that the key comes from, or would come from.
    key_name: str = AGENT.api_key
    names: Names = AGENT


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def check_base_url(url: str, names: Names = AGENT) -> str:
    """Return `url` without a trailing slash and white space around it.

    Raises UsageError when it is not the URL of an HTTP endpoint.
    """
    url = url.strip()
    try:
        scheme, host, _ = _origin(url)
    except ValueError:
        scheme = host = ""
    if scheme not in ("http", "https") or not host or not _is_sendable(url):
        raise UsageError(f"base URL {url!r} is not an http(s) address such as http://localhost:8000/v1")
    if urlsplit(url).username is not None:
        raise UsageError(f"a base URL must not hold a user name or password; pass the key as {names.api_key}")
    return url.rstrip("/")


def find_address(model: str, base_url: str | None, environ: Mapping[str, str], names: Names = AGENT) -> Address:
    """Return where `model` is asked: the given base URL, else what the environment's keys say.

    `names` are those of who asks, for the key of a base URL and for messages.
    Raises UsageError when there is no endpoint for it, or its key is missing.
    """
    openai_url = environ.get("OPENAI_BASE_URL") or None
    if base_url is not None:
        base_url = check_base_url(base_url, names)
        if own := _key(names.api_key, environ):
            return Address(base_url, own, names.api_key, names)
        return _address(base_url, environ, names)
    if openai_url is not None:
        base_url = check_base_url(openai_url, names)
    elif _key("OPENROUTER_API_KEY", environ) and ("/" in model or not _key("OPENAI_API_KEY", environ)):
        base_url = OPENROUTER
    elif _key("OPENAI_API_KEY", environ):
        base_url = OPENAI
    else:
        raise UsageError(f"no endpoint for model {model!r}: {names.how_to_configure}")
    return _address(base_url, environ, names)


def _address(base_url: str, environ: Mapping[str, str], names: Names) -> Address:
    """Return the address with the key that belongs to its host."""
    origin = _origin(base_url)
    owners = {_origin(OPENROUTER): "OPENROUTER_API_KEY", _origin(OPENAI): "OPENAI_API_KEY"}
    owner = owners.get(origin)
    if owner is not None:
        key = _key(owner, environ)
        if key is None:
            raise UsageError(f"{base_url} needs a key: set {owner}")
        return Address(base_url, key, owner, names)
    openai_url = environ.get("OPENAI_BASE_URL", "").strip()
    if openai_url and _origin(openai_url) == origin:
        return Address(base_url, _key("OPENAI_API_KEY", environ), "OPENAI_API_KEY", names)
    return Address(base_url, None, names.api_key, names)


def _key(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the key in a variable, None where there is none. Raises UsageError for one that cannot be a key."""
    return check_key(environ.get(name, ""), name) or None


def check_key(key: str, name: str) -> str:
    """Return a key without the white space around it, which comes with a copied or a read line.

    Raises UsageError, with the `name` of where it comes from and without the key, when HTTP cannot carry it.
    """
    key = key.strip()
    if not _is_sendable(key):
        raise UsageError(
            f"the key in {name} has characters that no key has: white space, a control character, or one that is not "
            "ASCII; copy it again"
        )
    return key


def _is_sendable(text: str) -> bool:
    """Return whether a text is visible ASCII: what a URL and a token of HTTP's consist of (RFC 9110, 11.6.2)."""
    return all("!" <= character <= "~" for character in text)


def headers_for(address: Address, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of requests to an address.

    What the environment holds for OpenAI goes only there, and to where OPENAI_BASE_URL leads. The variables are those
    of the `openai` package. Raises UsageError for a header that HTTP cannot carry.
    """
    # Servers that want no key ignore this one; some refuse a request without any.
    key = check_key(address.api_key or "", address.key_name) or "none"
    headers = {"User-Agent": _user_agent(), "Authorization": f"Bearer {key}"}
    if address.base_url not in (OPENAI, environ.get("OPENAI_BASE_URL", "").strip().rstrip("/")):
        return headers
    for header, variable in (("OpenAI-Organization", "OPENAI_ORG_ID"), ("OpenAI-Project", "OPENAI_PROJECT_ID")):
        if value := environ.get(variable, "").strip():
            headers[header] = _check_header(value, variable)
    for line in environ.get(_CUSTOM, "").splitlines():
        name, colon, value = line.partition(":")
        if colon and (name := name.strip()):
            # They may replace the others.
            headers = {other: kept for other, kept in headers.items() if other.lower() != name.lower()}
            headers[_check_header(name, _CUSTOM)] = _check_header(value.strip(), _CUSTOM)
    return headers


def _check_header(text: str, variable: str) -> str:
    if not all(" " <= character <= "~" for character in text):
        raise UsageError(f"{variable} has characters that HTTP headers cannot hold: only printable ASCII is sent")
    return text


@cache
def _user_agent() -> str:
    try:
        return f"pytest-hermes/{version('pytest-hermes')}"
    except PackageNotFoundError:
        return "pytest-hermes"

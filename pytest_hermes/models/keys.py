"""Which endpoint a run talks to, and which key belongs to it.

A key is sent only to the host it belongs to: OpenRouter's to openrouter.ai, OpenAI's to api.openai.com or to the
host that OPENAI_BASE_URL names, and PYTEST_HERMES_API_KEY to whatever `--hermes-base-url` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import UsageError

OPENROUTER = "https://openrouter.ai/api/v1"
OPENAI = "https://api.openai.com/v1"

HOW_TO_CONFIGURE = (
    "set OPENROUTER_API_KEY, or OPENAI_API_KEY (and OPENAI_BASE_URL), "
    "or pass --hermes-base-url=http://localhost:8000/v1 for a server of your own"
)


@dataclass(frozen=True)
class Address:
    """A base URL and the key that may be sent to it; None where the endpoint wants none."""

    base_url: str
    api_key: str | None
    #: The environment variable that the key comes from, or would come from.
    key_name: str = "PYTEST_HERMES_API_KEY"

    def __repr__(self) -> str:  # a key must not appear in a traceback
        return f"Address({self.base_url!r})"


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def check_base_url(url: str) -> str:
    """Return `url` without a trailing slash. Raises UsageError when it is not the URL of an HTTP endpoint."""
    try:
        scheme, host, _ = _origin(url)
    except ValueError:
        scheme = host = ""
    if scheme not in ("http", "https") or not host:
        raise UsageError(f"base URL {url!r} is not an http(s) address such as http://localhost:8000/v1")
    if urlsplit(url).username is not None:
        raise UsageError("a base URL must not hold a user name or password; pass the key as PYTEST_HERMES_API_KEY")
    return url.rstrip("/")


def find_address(model: str, base_url: str | None, environ: Mapping[str, str]) -> Address:
    """Return where `model` is asked: the given base URL, else what the environment's keys say.

    Raises UsageError when there is no endpoint for it, or its key is missing.
    """
    openai_url = environ.get("OPENAI_BASE_URL") or None
    if base_url is not None:
        base_url = check_base_url(base_url)
        if own := environ.get("PYTEST_HERMES_API_KEY"):
            return Address(base_url, own)
        return _address(base_url, environ)
    if openai_url is not None:
        base_url = check_base_url(openai_url)
    elif environ.get("OPENROUTER_API_KEY") and ("/" in model or not environ.get("OPENAI_API_KEY")):
        base_url = OPENROUTER
    elif environ.get("OPENAI_API_KEY"):
        base_url = OPENAI
    else:
        raise UsageError(f"no endpoint for model {model!r}: {HOW_TO_CONFIGURE}")
    return _address(base_url, environ)


def _address(base_url: str, environ: Mapping[str, str]) -> Address:
    """Return the address with the key that belongs to its host."""
    origin = _origin(base_url)
    owners = {_origin(OPENROUTER): "OPENROUTER_API_KEY", _origin(OPENAI): "OPENAI_API_KEY"}
    owner = owners.get(origin)
    if owner is not None:
        if not environ.get(owner):
            raise UsageError(f"{base_url} wants a key: set {owner}")
        return Address(base_url, environ[owner], owner)
    openai_url = environ.get("OPENAI_BASE_URL")
    if openai_url and _origin(openai_url) == origin:
        return Address(base_url, environ.get("OPENAI_API_KEY") or None, "OPENAI_API_KEY")
    return Address(base_url, None)

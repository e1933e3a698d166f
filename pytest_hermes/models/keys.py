"""Which endpoint a run talks to, and which key belongs to it.

A key is sent only to the host it belongs to: OpenRouter's to openrouter.ai, OpenAI's to api.openai.com or to the
host that OPENAI_BASE_URL names, and PYTEST_HERMES_API_KEY to whatever `--hermes-base-url` names. A judge has
options and a key of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ..errors import UsageError

OPENROUTER = "https://openrouter.ai/api/v1"
OPENAI = "https://api.openai.com/v1"


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
    """Return `url` without a trailing slash. Raises UsageError when it is not the URL of an HTTP endpoint."""
    try:
        scheme, host, _ = _origin(url)
    except ValueError:
        scheme = host = ""
    if scheme not in ("http", "https") or not host:
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
        if own := environ.get(names.api_key):
            return Address(base_url, own, names.api_key, names)
        return _address(base_url, environ, names)
    if openai_url is not None:
        base_url = check_base_url(openai_url, names)
    elif environ.get("OPENROUTER_API_KEY") and ("/" in model or not environ.get("OPENAI_API_KEY")):
        base_url = OPENROUTER
    elif environ.get("OPENAI_API_KEY"):
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
        if not environ.get(owner):
            raise UsageError(f"{base_url} needs a key: set {owner}")
        return Address(base_url, environ[owner], owner, names)
    openai_url = environ.get("OPENAI_BASE_URL")
    if openai_url and _origin(openai_url) == origin:
        return Address(base_url, environ.get("OPENAI_API_KEY") or None, "OPENAI_API_KEY", names)
    return Address(base_url, None, names.api_key, names)

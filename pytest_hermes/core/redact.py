"""Takes secrets out of whatever text is written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Parts of the names of environment variables whose values are secrets.
_SECRET_NAMES = ("API_KEY", "APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE_KEY")
#: Shorter values are words, not secrets: redacting `true` or `1` would garble every record.
_MIN_LENGTH = 8

REDACTED = "[redacted]"


def without_secret_fields(value: Any) -> Any:
    """Return a JSON-like value in which texts under a name such as `api_key` are replaced. A number is not a secret."""
    if isinstance(value, Mapping):
        return {
            name: _without_texts(item) if _is_secret_name(str(name)) else without_secret_fields(item)
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [without_secret_fields(item) for item in value]
    return value


def _without_texts(value: Any) -> Any:
    if isinstance(value, str):
        return REDACTED
    if isinstance(value, Mapping):
        return {name: _without_texts(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_texts(item) for item in value]
    return value


def _is_secret_name(name: str) -> bool:
    # `max_tokens` counts them.
    name = name.upper().replace("-", "_")
    return any(part in name for part in _SECRET_NAMES) and not name.endswith("TOKENS")


def _is_secret(name: str, value: str) -> bool:
    """Whether an environment variable holds a secret. PYTEST_HERMES_MAX_TOKENS=10000000 does not."""
    return _is_secret_name(name) or (any(part in name.upper() for part in _SECRET_NAMES) and not value.isdecimal())


class Redactor:
    """Replaces known secrets. Built once a run from its keys and the environment's secret-looking variables."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # Longest first: a secret that contains another one goes as a whole.
        self._secrets = sorted({secret for secret in secrets if len(secret) >= _MIN_LENGTH}, key=len, reverse=True)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], keys: Iterable[str] = ()) -> Redactor:
        found = (value for name, value in environ.items() if _is_secret(name, value))
        return cls([*keys, *found])

    def text(self, text: str) -> str:
        """Return `text` with every secret replaced."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, REDACTED)
        return text

    def value(self, value: Any) -> Any:
        """Return a JSON-like value with every secret replaced, in keys as well."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value

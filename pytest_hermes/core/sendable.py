"""Values as JSON in UTF-8, which has neither lone surrogates nor NaN; Python's own reader of JSON lets both in."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def sendable(value: T) -> T:
    """Return a JSON-like value as it may be sent: a lone surrogate becomes U+FFFD, NaN and infinities become null.

    A value without any of these is returned itself.
    """
    return value if _is_sendable(value) else _each(value, _replaced)


def recordable(value: T) -> T:
    r"""Return the value as it may be written down: a lone surrogate becomes the text of its escape, `\ud83d`."""
    return value if _is_sendable(value) else _each(value, _escaped)


def _is_sendable(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:  # UnicodeEncodeError is one
        return False
    return True


def _each(value: T, text: Callable[[str], str]) -> T:
    """Return the value with `text` applied to every text in it."""
    changed: object = value
    if isinstance(value, str):
        changed = text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        changed = None
    elif isinstance(value, dict):
        changed = {_each(key, text): _each(item, text) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        changed = [_each(item, text) for item in value]
    return changed  # type: ignore[return-value]


def _replaced(text: str) -> str:
    # By way of UTF-16, in which the two halves of a character become one again where both are there.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _escaped(text: str) -> str:
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return joined.encode("utf-8", "backslashreplace").decode()

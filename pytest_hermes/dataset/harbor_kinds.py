"""Kinds of values in a `task.toml`, and messages that say which one was expected.

Texts that hold a number count as that number, as Harbor has it. A truth value does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from ..core import checks
from ..core.checks import Kind, instance_of, mapping, one_of
from ..core.one_line import shown
from ..task import parse_size

T = TypeVar("T")

_TAGS = 'a list of strings such as ["a", "b"]'


def optional(kind: Kind[T]) -> Kind[T | None]:
    """Return the kind of what may be missing; nobody can write so much in TOML, so that a message does not say it."""
    return Kind(kind.phrase, lambda value, what: None if value is None else kind.read(value, what))


def _number_in(value: object) -> object:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _read_tags(value: object, what: str) -> tuple[str, ...]:
    if isinstance(value, str):
        words = [word for word in re.split(r"[\s,;]+", value) if word]
        raise ValueError(f"{what} must be {_TAGS}, not the string {shown(value)}; write {json.dumps(words)}")
    return tuple(_TEXTS.read(value, what))


def _read_user(value: object, what: str) -> str:
    return str(checks.WHOLE.read(value, what)) if isinstance(value, int) else checks.NAME.read(value, what)


def _read_artifacts(value: object, what: str) -> tuple[str, ...]:
    return tuple(
        _PATH.check(entry, f"{what}[{number}]")
        if isinstance(entry, str)
        else _PATH.check(_ARTIFACT.check(entry, f"{what}[{number}]")["source"], f"{what}[{number}].source")
        for number, entry in enumerate(LIST.read(value, what))
    )


TEXT = checks.TEXT
TRUTH = instance_of("true or false", bool)
TABLE: Kind[Mapping[str, Any]] = instance_of("a table", dict)
LIST: Kind[list[Any]] = instance_of("a list", list)
_TEXTS = instance_of(_TAGS, list, tuple).where(lambda texts: all(isinstance(text, str) for text in texts))
TAGS = Kind(_TAGS, _read_tags)
#: As Harbor has it, an empty one counts for none; and likewise a `workdir`.
IMAGE = Kind("the name of an image", lambda value, what: TEXT.read(value, what).strip() or None)
NUMBER = Kind("a finite number greater than 0", lambda value, what: checks.FINITE_AMOUNT.read(_number_in(value), what))
_WHOLE = Kind("a whole number", lambda value, what: checks.WHOLE.read(_number_in(value), what))
COUNT = _WHOLE.where(lambda count: count >= 0, "a whole number of at least 0")
MEGABYTES = _WHOLE.where(lambda size: size >= 1, "a whole number of at least 1")
#: A number is one of bytes.
SIZE = Kind("a size", parse_size)
NETWORK = one_of("no-network", "public", "allowlist")
USER = Kind("a user's name or number", _read_user)
ENV = mapping("a table of strings", checks.VARIABLE, TEXT.where(lambda text: "\0" not in text))
_ABSOLUTE = TEXT.where(lambda path: path.startswith("/") and "\0" not in path, "an absolute path such as '/app'")
WORKDIR = Kind(_ABSOLUTE.phrase, lambda value, what: None if value == "" else _ABSOLUTE.read(value, what))
#: In the sandbox: relative ones count from the working directory.
_PATH = TEXT.where(
    lambda path: bool(path.strip()) and "\0" not in path and ".." not in path.split("/"),
    "a path without '..', such as 'out' in the working directory, or '/app/out'",
)
_ARTIFACT = TABLE.where(lambda table: "source" in table, "a path or a table with a `source`")
ARTIFACTS = Kind("a list of paths", _read_artifacts)

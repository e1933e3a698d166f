"""Kinds of values that authors enter, and messages that say which one was expected: `must be a string, not 2`."""

from __future__ import annotations

import functools
import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from .one_line import shown

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

_TEXTS = 'strings such as ("a", "b")'


class _Unfit(Exception):
    """A value is not of its kind; the text is what its author may have meant."""


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of value."""

    #: What a value must be, in the words of a message.
    phrase: str
    #: Returns a value in the form in which it is kept; it is also told what messages call the value.
    read: Callable[[object, str], T]

    def check(self, value: object, what: str) -> T:
        """Return the value in the form in which it is kept.

        Raises ValueError, which begins with `what`, for one that is not of this kind.
        """
        try:
            return self.read(value, what)
        except _Unfit as unfit:
            hint = f"; {unfit}" if str(unfit) else ""
            raise ValueError(f"{what} must be {self.phrase}, not {shown(value)}{hint}") from None

    def where(self, fits: Callable[[T], bool], phrase: str | None = None) -> Kind[T]:
        """Return the kind of those of this kind that fit besides."""

        def read(value: object, what: str) -> T:
            found = self.read(value, what)
            if not fits(found):
                raise _Unfit
            return found

        return Kind(phrase or self.phrase, read)

    @property
    def or_none(self) -> Kind[T | None]:
        """The same kind, or None."""
        return Kind(f"{self.phrase} or None", lambda value, what: None if value is None else self.read(value, what))


def check_fields(entered: object, of: Any, whose: str) -> None:
    """Check the fields of the frozen dataclass `of` that are annotated with a kind, and keep their values in its form.

    `whose` is what a message begins with, before the field's name. Raises ValueError for the first that does not fit.
    """
    for name, kind in _kinds(of).items():
        object.__setattr__(entered, name, kind.check(getattr(entered, name), f"{whose}{name}"))


@functools.cache
def _kinds(of: Any) -> Mapping[str, Kind[Any]]:
    hints = get_type_hints(of, include_extras=True)
    return {
        name: kind
        for name, hint in hints.items()
        for kind in getattr(hint, "__metadata__", ())
        if isinstance(kind, Kind)
    }


def instance_of(phrase: str, *types: type) -> Kind[Any]:
    """Return the kind of what is an instance of one of `types`."""
    return Kind(phrase, lambda value, what: value).where(lambda value: isinstance(value, types))


def one_of(*words: str) -> Kind[str]:
    """Return the kind of what is one of these words."""
    return instance_of(" or ".join(map(repr, words)), str).where(words.__contains__)


def mapping(phrase: str, keys: Kind[K], values: Kind[V], key: str = "name") -> Kind[dict[K, V]]:
    """Return the kind of mappings, kept as dicts, from one kind to another; `key` is what a message calls a key."""

    def read(value: object, what: str) -> dict[K, V]:
        if not isinstance(value, Mapping):
            raise _Unfit
        return {
            keys.check(name, f"{what}: each {key}"): values.check(entry, f"{what}[{shown(name)}]")
            for name, entry in value.items()
        }

    return Kind(phrase, read)


def _read_text(value: object, what: str) -> str:
    if isinstance(value, bytes | bytearray):
        raise _Unfit("decode it")
    if not isinstance(value, str):
        raise _Unfit
    return value


def _read_texts(value: object, what: str) -> tuple[str, ...]:
    if isinstance(value, str):
        # Of which Python would make its letters.
        raise ValueError(f"{what} must be {_TEXTS}, not the string {shown(value)}")
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise _Unfit
    texts = tuple(value)
    if not all(isinstance(text, str) for text in texts):
        raise _Unfit
    return texts


def number(value: object) -> float | None:
    """Return a number as a float: Python's own and whatever else has a `__float__`, as numpy's scalars do.

    None for anything else, texts among it.
    """
    if isinstance(value, str) or not hasattr(value, "__float__"):
        return None
    try:
        return float(value)
    except Exception:  # a whole number beyond any float, an array of several numbers
        return None


def _read_number(value: object, what: str) -> float:
    found = number(value)
    if found is None:
        raise _Unfit
    return found


def _read_untrue(value: object, what: str) -> float:
    """A truth value is a number in Python, and mostly a mistake."""
    if isinstance(value, bool):
        raise _Unfit
    return _read_number(value, what)


def _read_cost(value: object, what: str) -> Decimal:
    found = AMOUNT.read(value, what)
    # By its digits: 0.1 as a float is a little more than 0.1.
    return Decimal(value) if isinstance(value, Decimal | int) else Decimal(repr(found))


def _read_range(value: object, what: str) -> tuple[float, float]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise _Unfit
    low, high = (THRESHOLD.read(bound, what) for bound in value)
    return low, high


def _read_whole(value: object, what: str) -> int:
    if isinstance(value, bool | str):
        raise _Unfit
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        found = number(value)
    # A column of a table in which a number is missing holds 5.0 for 5.
    if found is None or not found.is_integer():
        raise _Unfit
    return int(found)


def _read_path(value: object, what: str) -> Path:
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise _Unfit
    return Path(path)


def _read_bytes(value: object, what: str) -> bytes:
    if isinstance(value, str):
        raise _Unfit("encode it")
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _Unfit
    return bytes(value)


def _is_path_within(path: str) -> bool:
    # An absolute one begins with an empty part.
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        return False
    try:
        path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


TEXT = Kind("a string", _read_text)
#: Not empty.
NAME = TEXT.where(lambda text: bool(text.strip()) and "\0" not in text, "a non-empty string")
#: Of the environment.
VARIABLE = NAME.where(lambda name: "=" not in name, "a name without '='")
TEXTS = Kind(_TEXTS, _read_texts)
TRUTH = instance_of("True or False", bool)
#: A float; a truth value is 0 or 1.
FINITE = Kind("a finite number", _read_number).where(math.isfinite)
#: Likewise, but no truth value.
THRESHOLD = Kind("a finite number", _read_untrue).where(math.isfinite)
#: A float, maybe infinite; NaN is not greater than anything.
AMOUNT = Kind("a number greater than 0", _read_untrue).where(lambda found: found > 0)
FINITE_AMOUNT = AMOUNT.where(math.isfinite, "a finite number greater than 0")
COST = Kind("a number of dollars greater than 0", _read_cost)
COUNT = Kind("a whole number of at least 1", _read_whole).where(lambda found: found >= 1)
WHOLE = Kind("a whole number", _read_whole)
RANGE = Kind("a pair (low, high) of finite numbers, the first below the second", _read_range).where(
    lambda bounds: bounds[0] < bounds[1]
)
PATH = Kind("a path", _read_path)
BYTES = Kind("bytes", _read_bytes)
#: Of a file below some folder.
PATH_WITHIN = instance_of("relative, such as logs/x.txt, and without '.' and '..'", str).where(_is_path_within)

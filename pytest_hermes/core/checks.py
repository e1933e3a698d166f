"""Kinds of values that authors enter, and messages that say which one was expected: `must be a text, not 2`."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, TypeVar

from .one_line import shown

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

_TEXTS = 'texts such as ("a", "b")'


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

    @property
    def or_none(self) -> Kind[T | None]:
        """The same kind, or None."""
        return Kind(f"{self.phrase} or None", lambda value, what: None if value is None else self.read(value, what))


def check_fields(entered: object, kinds: Mapping[str, Kind[Any]], whose: str) -> None:
    """Check the fields of a frozen dataclass, and keep their values in the form of their kinds.

    `whose` is what a message begins with, before the field's name. Raises ValueError for the first that does not fit.
    """
    for name, kind in kinds.items():
        object.__setattr__(entered, name, kind.check(getattr(entered, name), f"{whose}{name}"))


def _instance(*types: type) -> Callable[[object, str], Any]:
    def read(value: object, what: str) -> Any:
        if not isinstance(value, types):
            raise _Unfit
        return value

    return read


def instance_of(phrase: str, *types: type) -> Kind[Any]:
    """Return the kind of what is an instance of one of `types`."""
    return Kind(phrase, _instance(*types))


def one_of(*words: str) -> Kind[str]:
    """Return the kind of what is one of these words."""

    def read(value: object, what: str) -> str:
        if not isinstance(value, str) or value not in words:
            raise _Unfit
        return value

    return Kind(" or ".join(map(repr, words)), read)


def _read_text(value: object, what: str) -> str:
    if isinstance(value, bytes | bytearray):
        raise _Unfit("decode it")
    if not isinstance(value, str):
        raise _Unfit
    return value


def _read_name(value: object, what: str) -> str:
    text = _read_text(value, what)
    if not text.strip() or "\0" in text:
        raise _Unfit
    return text


def _read_variable(value: object, what: str) -> str:
    name = _read_name(value, what)
    if "=" in name:
        raise _Unfit
    return name


def _read_texts(value: object, what: str) -> tuple[str, ...]:
    if isinstance(value, str):
        # Of which Python would make its letters.
        raise ValueError(f"{what} must be {_TEXTS}, not the text {shown(value)}")
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


def _read_finite(value: object, what: str) -> float:
    found = number(value)
    if found is None or not math.isfinite(found):
        raise _Unfit
    return found


def _read_threshold(value: object, what: str) -> float:
    if isinstance(value, bool):
        raise _Unfit
    return _read_finite(value, what)


def _read_amount(value: object, what: str) -> float:
    found = None if isinstance(value, bool) else number(value)
    if found is None or not found > 0:  # NaN is not
        raise _Unfit
    return found


def _read_finite_amount(value: object, what: str) -> float:
    found = _read_amount(value, what)
    if math.isinf(found):
        raise _Unfit
    return found


def _read_cost(value: object, what: str) -> Decimal:
    found = _read_amount(value, what)
    # By its digits: 0.1 as a float is a little more than 0.1.
    return Decimal(value) if isinstance(value, Decimal | int) else Decimal(repr(found))


def _read_range(value: object, what: str) -> tuple[float, float]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise _Unfit
    low, high = (_read_threshold(bound, what) for bound in value)
    if not low < high:
        raise _Unfit
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


def _read_count(value: object, what: str) -> int:
    found = _read_whole(value, what)
    if found < 1:
        raise _Unfit
    return found


def _read_path(value: object, what: str) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise _Unfit
    path = os.fspath(value)
    if not isinstance(path, str) or not path or "\0" in path:
        raise _Unfit
    return Path(path)


def _read_bytes(value: object, what: str) -> bytes:
    if isinstance(value, str):
        raise _Unfit("encode it")
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _Unfit
    return bytes(value)


def _read_path_within(value: object, what: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise _Unfit
    # An absolute one begins with an empty part.
    if any(part in ("", ".", "..") for part in value.split("/")):
        raise _Unfit
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _Unfit from None
    return value


TEXT = Kind("a text", _read_text)
#: Not empty.
NAME = Kind("a text that is not empty", _read_name)
#: Of the environment.
VARIABLE = Kind("a name without '='", _read_variable)
TEXTS = Kind(_TEXTS, _read_texts)
TRUTH = Kind("True or False", _instance(bool))
#: A float; a truth value is 0 or 1.
FINITE = Kind("a finite number", _read_finite)
#: Likewise, but no truth value.
THRESHOLD = Kind("a finite number", _read_threshold)
#: A float, maybe infinite.
AMOUNT = Kind("a number greater than 0", _read_amount)
FINITE_AMOUNT = Kind("a finite number greater than 0", _read_finite_amount)
COST = Kind("a number of dollars greater than 0", _read_cost)
WHOLE = Kind("a whole number", _read_whole)
COUNT = Kind("a whole number of at least 1", _read_count)
RANGE = Kind("a pair (low, high) of finite numbers, the first below the second", _read_range)
PATH = Kind("a path", _read_path)
BYTES = Kind("bytes", _read_bytes)
#: Of a file below some folder.
PATH_WITHIN = Kind("relative, such as logs/x.txt, and without '.' and '..'", _read_path_within)


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

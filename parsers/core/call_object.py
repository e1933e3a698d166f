"""Calls written as a JSON object with a name and arguments."""

from __future__ import annotations

import re
from typing import Any

from .json_repair import STRINGIFIED
from .json_text import Json, JsonText, loads
from .parser import Call


def call_of(found: Json, *, arguments: tuple[str, ...] = ("arguments",), repair: bool = False) -> Call | None:
    """The call an object describes, or None if it describes none.

    `arguments` are the keys the arguments may stand under, the first present one counting. Arguments given
    as a string of JSON are a call only when repairing: passed on as they are, they would be encoded twice.
    """
    value = found.value
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str) or not name.strip():
        return None
    key = next((key for key in arguments if key in value), None)
    if key is None:
        return None
    given, repairs = as_object(Json(value[key], found.end, found.repairs), repair=repair)
    return None if given is None else Call(name, given, repairs=repairs)


def arguments_at(text: JsonText, start: int, *, repair: bool = False) -> Json | None:
    """The arguments object that begins at `start`, or None; when repairing, also one given as a string."""
    found = text.value_at(start) or (text.string_at(start) if repair else None)
    if found is None:
        return None
    value, repairs = as_object(found, repair=repair)
    return None if value is None else Json(value, found.end, repairs)


def call_behind(head: re.Match[str], objects: JsonText, *, repair: bool) -> tuple[Call, int] | None:
    """The call whose name, and possibly `id`, are groups of `head`, and where its arguments end; None if it is none."""
    arguments = arguments_at(objects, head.end(), repair=repair)
    if arguments is None:
        return None
    groups = head.groupdict()
    return Call(groups["name"].strip(), arguments.value, groups.get("id") or "", arguments.repairs), arguments.end


def as_object(found: Json, *, repair: bool) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    value, repairs = found.value, found.repairs
    if isinstance(value, str) and repair:
        inner = loads(value, repair=True)
        if inner is not None:
            value, repairs = inner.value, (*repairs, STRINGIFIED, *inner.repairs)
    return (value if isinstance(value, dict) else None), tuple(dict.fromkeys(repairs))

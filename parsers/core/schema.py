"""Typing values that a model writes as bare text, by the JSON Schema of the tool's parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .json_text import loads

# Not JSON Schema, but common in hand-written tool definitions.
_ALIASES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
    "dict": "object",
    "none": "null",
}
_TYPE_NAMES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_STRING = frozenset({"string"})
_MAX_REFERENCES = 32


class Typed(NamedTuple):
    """A value, and what had to be mended to give it its type."""

    value: Any
    repairs: tuple[str, ...] = ()


class ToolSchemas:
    """The parameter types of a conversation's tools.

    `tools` are OpenAI tool definitions (`{"type": "function", "function": {"name", "parameters"}}`) or the
    bare functions. Raises TypeError on anything that is neither; a schema that makes no sense types nothing.
    """

    def __init__(self, tools: Iterable[Mapping[str, Any]] | None = None) -> None:
        self._types: dict[str, dict[str, frozenset[str]]] = {}
        self._other_types: dict[str, frozenset[str]] = {}
        for tool in tools or ():
            function = tool.get("function", tool) if isinstance(tool, Mapping) else None
            if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
                raise TypeError(
                    f"a tool must be a dict with a name, as in "
                    f'{{"type": "function", "function": {{"name": …, "parameters": …}}}}, not {tool!r:.200}'
                )
            root = function.get("parameters")
            root = root if isinstance(root, Mapping) else {}
            properties = root.get("properties")
            properties = properties if isinstance(properties, Mapping) else {}
            name = function["name"]
            self._types[name] = {
                key: frozenset(_types_of(schema, root)) or _STRING for key, schema in properties.items()
            }
            self._other_types[name] = frozenset(_types_of(root.get("additionalProperties"), root)) or _STRING

    def typed(self, tool: str, key: str, text: str, *, repair: bool = False) -> Typed:
        """What `text` stands for as the parameter `key` of `tool`: itself, unless a schema says otherwise."""
        types = self._types.get(tool, {}).get(key) or self._other_types.get(tool, _STRING)
        return _typed(text, types, repair=repair)


def _types_of(schema: Any, root: Mapping[str, Any], references: int = 0) -> Iterable[str]:
    if not isinstance(schema, Mapping):
        return
    named = schema.get("type")
    for name in [named] if isinstance(named, str) else named if isinstance(named, Sequence) else []:
        if isinstance(name, str):
            yield _ALIASES.get(name.lower(), name.lower())
    literals = [*schema["enum"]] if isinstance(schema.get("enum"), list) else []
    literals += [schema["const"]] if "const" in schema else []
    for literal in literals:
        yield _TYPE_NAMES.get(type(literal), "string")
    if references >= _MAX_REFERENCES:
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        yield from _types_of(_referred(reference, root), root, references + 1)
    for combined in ("anyOf", "oneOf", "allOf"):
        choices = schema.get(combined)
        for choice in choices if isinstance(choices, list) else []:
            yield from _types_of(choice, root, references + 1)


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    here: Any = root
    for part in reference.removeprefix("#/").split("/"):
        here = here.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(here, Mapping) else None
    return here


def _typed(text: str, types: frozenset[str], *, repair: bool) -> Typed:
    # The narrow types come first: of a parameter that takes integers or strings, "42" is the integer.
    bare = text.strip()
    if types == _STRING:
        return Typed(text)
    # Templates that print a value the way Python does give models `None` and `True` to imitate.
    if "null" in types and bare in ("null", "None"):
        return Typed(None)
    if types & {"integer", "number"}:
        number = _number(bare, whole="number" not in types)
        if number is not None:
            return Typed(number)
    if "boolean" in types and bare.lower() in ("true", "false"):
        return Typed(bare.lower() == "true")
    if types & {"object", "array"}:
        found = loads(text, repair=repair)
        if found is not None and ("object" if isinstance(found.value, dict) else "array") in types:
            return Typed(found.value, found.repairs)
    return Typed(text)


def _number(text: str, *, whole: bool) -> int | float | None:
    try:
        if _INTEGER.fullmatch(text):
            return int(text)
        if not whole and _NUMBER.fullmatch(text):
            number = float(text)
            return number if math.isfinite(number) else None
    except ValueError:
        # Python refuses to read integers of more than some thousand digits.
        pass
    return None

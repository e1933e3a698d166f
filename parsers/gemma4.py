"""Gemma 4: `<|tool_call>call:NAME{key:<|"|>text<|"|>,n:42}<tool_call|>`, an object notation of its own."""

from __future__ import annotations

import re
from typing import Any

from .core.json_text import MAX_DEPTH, Json, dumps, loads_any
from .core.parser import Call, Found, Template, ToolCallParser
from .core.patterns import NAME, SPACE
from .core.reasoning import THINK

_QUOTE = '<|"|>'
_OPEN = re.compile(rf"<\|tool_call>call:(?P<name>{NAME})(?=\{{)")
_CLOSE = re.compile(rf"{SPACE}<tool_call\|>")
_KEY = re.compile(rf"(?P<key>[^\s:{{}}\[\],<]{{1,256}}){SPACE}:{SPACE}")
_QUOTED_KEY = re.compile(rf"{SPACE}:{SPACE}")
_BARE = re.compile(r"[^{}\[\],:<]+")
_OPENER = re.compile(rf"([\[{{]){SPACE}")
_COMMA = re.compile(rf"{SPACE}(,{SPACE})?")


class Gemma4Parser(ToolCallParser):
    """Strings stand between quotes that are a token and have no escape; a bare word is a string, too."""

    name = "gemma4"
    template = Template("<|tool_call>call:{name}{arguments}<tool_call|>")
    think_tags = (*THINK, ("<|channel>", "<channel|>"))

    def find(self, text: str) -> list[Found]:
        found: list[Found] = []
        end = 0
        for opened in _OPEN.finditer(text):
            arguments = _value_at(text, opened.end(), 1) if opened.start() >= end else None
            closed = _CLOSE.match(text, arguments.end) if arguments else None
            if arguments and closed:
                end = closed.end()
                found.append(Found(opened.start(), end, Call(opened["name"], arguments.value)))
        return found

    def written_arguments(self, arguments: dict[str, Any]) -> str:
        return _written(arguments)


def _value_at(text: str, at: int, depth: int) -> Json | None:
    if text.startswith(_QUOTE, at):
        return _string_at(text, at)
    if opener := _OPENER.match(text, at):
        if depth > MAX_DEPTH:
            return None
        return _container_at(text, opener.end(), depth, {} if opener[1] == "{" else [])
    bare = _BARE.match(text, at)
    word = bare[0].strip() if bare else ""
    if bare is None or not word:
        return None
    literal = loads_any(word)
    is_string = literal is None or isinstance(literal.value, str)
    return Json(word if literal is None or is_string else literal.value, bare.end())


def _string_at(text: str, at: int) -> Json | None:
    start = at + len(_QUOTE)
    end = text.find(_QUOTE, start)
    return None if end < 0 else Json(text[start:end], end + len(_QUOTE))


def _container_at(text: str, at: int, depth: int, filled: dict[str, Any] | list[Any]) -> Json | None:
    closer = "}" if isinstance(filled, dict) else "]"
    while not text.startswith(closer, at):
        key = _key_at(text, at) if isinstance(filled, dict) else Json("", at)
        value = _value_at(text, key.end, depth + 1) if key else None
        if key is None or value is None:
            return None
        if isinstance(filled, dict):
            filled[key.value] = value.value
        else:
            filled.append(value.value)
        comma = _COMMA.match(text, value.end)
        at = comma.end() if comma else value.end
        if (comma is None or comma[1] is None) and not text.startswith(closer, at):
            return None
    return Json(filled, at + 1)


def _key_at(text: str, at: int) -> Json | None:
    if text.startswith(_QUOTE, at):
        quoted = _string_at(text, at)
        colon = _QUOTED_KEY.match(text, quoted.end) if quoted else None
        return Json(quoted.value, colon.end()) if quoted and colon else None
    key = _KEY.match(text, at)
    return Json(key["key"], key.end()) if key else None


def _written(value: Any) -> str:
    if isinstance(value, str):
        return f"{_QUOTE}{value}{_QUOTE}"
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{_written_key(key)}:{_written(item)}' for key, item in value.items())}}}"
    return dumps(value)


def _written_key(key: str) -> str:
    return key if _KEY.fullmatch(key + ":") else f"{_QUOTE}{key}{_QUOTE}"

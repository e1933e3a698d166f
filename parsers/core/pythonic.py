"""Calls written as Python writes them: `name(key="value", other=[1, None])`, keywords and literals only."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from .json_text import MAX_DEPTH, Json, finite
from .parser import Call, Found, ToolCallParser
from .patterns import SPACE

_NAME = r"[A-Za-z_][\w.\-]{0,255}"
_SPACE = re.compile(r"[ \t\r\n]*")
_KEYWORD = re.compile(r"([A-Za-z_]\w*)[ \t\r\n]*=[ \t\r\n]*")
_KEY = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_COMMA = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")
_STRING = re.compile(r"\"((?:[^\"\\\n]+|\\.)*+)\"|'((?:[^'\\\n]+|\\.)*+)'", re.DOTALL)
_CODE_POINT = r"x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U000[0-9a-fA-F]{5}|U0010[0-9a-fA-F]{4}|[0-7]{1,3}"
_ESCAPE = re.compile(rf"\\({_CODE_POINT}|.)", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\n": ""}
_ESCAPES.update({"\\": "\\", "'": "'", '"': '"'})
_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?(?![\w.])")
_WORD = re.compile(r"[A-Za-z]+\b")
_CONSTANTS = {"None": None, "True": True, "False": False}
JSON_CONSTANTS = {"null": None, "true": True, "false": False}
_CLOSERS = {"[": "]", "(": ")", "{": "}"}


class PythonicText:
    """One text from which calls are read. `constants` are names of values besides Python's own."""

    def __init__(self, text: str, constants: dict[str, Any] | None = None) -> None:
        self._text = text
        self._constants = _CONSTANTS | (constants or {})

    def call_at(self, opened: re.Match[str]) -> tuple[Call, int] | None:
        """The call whose `name(` is `opened`, with a group `name`, and where it ends; None if it is none."""
        arguments: dict[str, Any] = {}
        at = self._skip(opened.end())
        while not self._text.startswith(")", at):
            keyword = _KEYWORD.match(self._text, at)
            value = self._value(keyword.end(), 1) if keyword else None
            if keyword is None or value is None or keyword[1] in arguments:
                return None
            arguments[keyword[1]] = value.value
            comma = _COMMA.match(self._text, value.end)
            at = comma.end() if comma else self._skip(value.end)
            if comma is None and not self._text.startswith(")", at):
                return None
        return Call(opened["name"], arguments), at + 1

    def _skip(self, at: int) -> int:
        space = _SPACE.match(self._text, at)
        return space.end() if space else at

    def _value(self, at: int, depth: int) -> Json | None:
        if depth > MAX_DEPTH:
            return None
        if string := _STRING.match(self._text, at):
            inner = string[1] if string[2] is None else string[2]
            return Json(_ESCAPE.sub(_unescaped, inner), string.end())
        if number := _NUMBER.match(self._text, at):
            return _number(number)
        word = _WORD.match(self._text, at)
        if word and word[0] in self._constants:
            return Json(self._constants[word[0]], word.end())
        opener = self._text[at : at + 1]
        if opener in ("[", "("):
            return self._sequence(at, _CLOSERS[opener], depth)
        return self._dict(at, depth) if opener == "{" else None

    def _sequence(self, at: int, closer: str, depth: int) -> Json | None:
        items: list[Any] = []
        at = self._skip(at + 1)
        while not self._text.startswith(closer, at):
            item = self._value(at, depth + 1)
            if item is None:
                return None
            items.append(item.value)
            comma = _COMMA.match(self._text, item.end)
            at = comma.end() if comma else self._skip(item.end)
            if comma is None and not self._text.startswith(closer, at):
                return None
            if comma is None and closer == ")" and len(items) == 1:
                # Python's brackets around a value make no tuple of it.
                return Json(items[0], at + 1)
        return Json(items, at + 1)

    def _dict(self, at: int, depth: int) -> Json | None:
        items: dict[str, Any] = {}
        at = self._skip(at + 1)
        while not self._text.startswith("}", at):
            key = self._value(at, depth + 1)
            colon = _KEY.match(self._text, key.end) if key and isinstance(key.value, str) else None
            value = self._value(colon.end(), depth + 1) if colon else None
            if key is None or value is None:
                return None
            items[key.value] = value.value
            comma = _COMMA.match(self._text, value.end)
            at = comma.end() if comma else self._skip(value.end)
            if comma is None and not self._text.startswith("}", at):
                return None
        return Json(items, at + 1)


def _written(value: Any) -> str:
    # Strings are written in double quotes, the way the templates' examples are; `repr` varies them.
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_written(key)}: {_written(item)}' for key, item in value.items())}}}"
    return repr(value)


def _unescaped(found: re.Match[str]) -> str:
    what = found[1]
    if what[0] in "xuU" and len(what) > 1:
        return chr(int(what[1:], 16))
    if what[0] in "01234567":
        return chr(int(what, 8))
    return _ESCAPES.get(what, found[0])


def _number(found: re.Match[str]) -> Json | None:
    try:
        whole = found[0].lstrip("-").isdigit()
        return Json(int(found[0]) if whole else finite(found[0]), found.end())
    except ValueError:
        return None


class PythonicParser(ToolCallParser):
    """`OPENER f(a=1) SEPARATOR g(b="x") … CLOSER`, read call by call: a broken one costs only itself."""

    opener: ClassVar[str]
    separator: ClassVar[str]
    closer: ClassVar[str]
    """Patterns; white space around calls is free besides."""
    constants: ClassVar[dict[str, Any]] = {}
    """Names that stand for values besides Python's own."""

    def __init_subclass__(cls) -> None:
        cls._event = re.compile(rf"(?:(?P<open>{cls.opener})|{cls.separator}){SPACE}(?P<name>{_NAME})\(", re.MULTILINE)
        cls._next = re.compile(rf"(?P<close>{SPACE}{cls.closer})|{SPACE}{cls.separator}")

    _event: ClassVar[re.Pattern[str]]
    _next: ClassVar[re.Pattern[str]]

    def written_arguments(self, arguments: dict[str, Any]) -> str:
        return ", ".join(f"{key}={_written(value)}" for key, value in arguments.items())

    def find(self, text: str) -> list[Found]:
        source = PythonicText(text, self.constants)
        found: list[Found] = []
        end = 0
        in_list = False
        for event in self._event.finditer(text):
            in_list = in_list or event["open"] is not None
            if event.start("name") < end or not in_list:
                continue
            read = source.call_at(event)
            following = self._next.match(text, read[1]) if read else None
            if read and following:
                found.append(Found(max(event.start(), end), following.end(), read[0]))
                end = following.end()
                in_list = following["close"] is None
        return found

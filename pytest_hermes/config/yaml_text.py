"""From YAML to settings: a file in the form of the Hermes environments, or one `section.field=VALUE`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml

from ..errors import UsageError
from .fields import TESTING, Schema
from .settings import Layer, Origin, Setting, check_key


def read_settings(path: Path, source: str, layer: Layer = Layer.FILE, schema: Schema = TESTING) -> list[Setting]:
    """Return the settings of a YAML file, which messages call `source`.

    A section that is a list, where the schema lets it, is one setting: a list of the settings of each entry.

    Raises UsageError, with the line, when it cannot be read, is not YAML, or has a key twice or one that does not
    exist. Whether the values fit is seen when they are resolved.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            line = error.object[: error.start].count(b"\n") + 1
            raise UsageError(f"{source}:{line}: not UTF-8 text") from None
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read the configuration {source}: {reason}") from None
    settings = list(_Document(text, Origin(layer, source)).settings(schema))
    keys = {setting.key: setting for setting in settings}
    secret = keys.get("openai.api_key")
    if secret is not None and secret.value and "openai.base_url" not in keys:
        raise UsageError(
            f"{secret.origin}: openai.api_key needs the openai.base_url it belongs to in the same file; "
            "or set PYTEST_HERMES_API_KEY instead"
        )
    return settings


def parse_assignment(text: str, source: str, layer: Layer) -> Setting:
    """Return the setting of one `section.field=VALUE`, the value in YAML. Raises UsageError when it is none."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UsageError(f"{source} must be SECTION.FIELD=VALUE, such as env.max_agent_turns=10, not {key!r}")
    if key == "openai.api_key":
        raise UsageError(
            f"{source} does not accept openai.api_key, because others could read it; set PYTEST_HERMES_API_KEY instead"
        )
    check_key(key, Origin(layer, source))
    return Setting(key, _Document(value, Origin(layer, f"{source} {key}")).value(), Origin(layer, source))


def parse_value(text: str, source: str) -> object:
    """Return what a YAML text means. Raises UsageError that begins with `source` when it is none."""
    return _Document(text, Origin(Layer.COMMAND_LINE, source)).value()


class _Document:
    """One YAML text, composed into nodes: unlike values they know their lines."""

    def __init__(self, text: str, origin: Origin) -> None:
        self._origin = origin
        try:
            self._loader = yaml.SafeLoader(text)
            self._root = self._loader.get_single_node()
            _check_nodes(self._root, self._fail)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._fail(mark, f"not valid YAML: {error.problem or error.context}")
        except yaml.reader.ReaderError as error:
            line = str(text)[: error.position].count("\n")
            self._fail(line, f"not valid YAML: character {chr(error.character)!a} is not allowed")
        except (RecursionError, ValueError) as error:
            self._fail(None, f"not valid YAML: {error}")

    def value(self) -> object:
        return None if self._root is None else self._construct(self._root)

    def settings(self, schema: Schema) -> Iterator[Setting]:
        for section, key_node, node in self._pairs(self._root, "a configuration"):
            if section not in schema.sections:
                check_key(section, self._at(key_node), schema)
                yield Setting(section, self._construct(node), self._at(key_node))
                continue
            if section in schema.lists and isinstance(node, yaml.SequenceNode) and len(node.value) > 1:
                each = [list(self._fields(section, part, schema)) for part in node.value]
                yield Setting(section, each, self._at(key_node))
            else:
                yield from self._fields(section, self._only(section, node), schema)

    def _fields(self, section: str, node: Any, schema: Schema) -> Iterator[Setting]:
        for name, name_node, value in self._pairs(node, f"section {section!r}"):
            key = f"{section}.{name}"
            check_key(key, self._at(name_node), schema)
            # What another door checks may be of a kind that only it knows.
            yield Setting(key, None if key in schema.foreign else self._construct(value), self._at(name_node))

    def _only(self, section: str, node: Any) -> Any:
        """Training spreads over a list of servers; here one answers."""
        if section != "openai" or not isinstance(node, yaml.SequenceNode):
            return node
        if len(node.value) != 1:
            self._fail(node.start_mark, f"section 'openai' lists {len(node.value)} servers; keep the one to measure")
        return node.value[0]

    def _pairs(self, node: Any, what: str) -> Iterator[tuple[str, Any, Any]]:
        """Yield key, key node and value node of a mapping, those merged with `<<` first; of nothing none."""
        if node is None or node.tag == "tag:yaml.org,2002:null":
            return
        if not isinstance(node, yaml.MappingNode):
            self._fail(node.start_mark, f"{what} must be a mapping of keys to values")
        try:
            self._loader.flatten_mapping(node)
        except yaml.MarkedYAMLError as error:
            self._fail(error.problem_mark, f"not valid YAML: {error.problem}")
        # A merged key comes first and gives way.
        for key, (key_node, value) in {key.value: (key, value) for key, value in node.value}.items():
            yield key, key_node, value

    def _construct(self, node: Any) -> object:
        try:
            return self._loader.construct_object(node, deep=True)
        except yaml.MarkedYAMLError as error:
            self._fail(error.problem_mark or error.context_mark, f"not valid YAML: {error.problem}")
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            self._fail(node.start_mark, f"not a value: {error}")

    def _at(self, node: Any) -> Origin:
        if self._origin.layer in (Layer.FILE, Layer.BENCHMARK):
            return Origin(self._origin.layer, self._origin.source, node.start_mark.line + 1)
        return self._origin

    def _fail(self, mark: Any, message: str) -> NoReturn:
        line = mark if isinstance(mark, int) else getattr(mark, "line", None)
        where = str(self._origin)
        if line is not None and self._origin.layer in (Layer.FILE, Layer.BENCHMARK):
            where += f":{line + 1}"
        raise UsageError(f"{where}: {message}") from None


def _check_nodes(root: Any, fail: Any) -> None:
    """Look through the whole text for what YAML lets pass: keys that are no names, keys that occur twice, of which it
    would keep one, and escapes of half a character, which no request and no record could hold."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or node is None:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            if any("\ud800" <= character <= "\udfff" for character in node.value):
                fail(node.start_mark, "an escape in this text is half of a surrogate pair")
        elif isinstance(node, yaml.MappingNode):
            _check_keys(node, fail)
            waiting.extend(part for pair in node.value for part in pair)
        else:
            waiting.extend(node.value)


def _check_keys(mapping: yaml.MappingNode, fail: Any) -> None:
    first: dict[str, int] = {}
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode):
            fail(key.start_mark, "a key must be a name")
        if key.value in first:
            fail(key.start_mark, f"key {key.value!r} occurs twice, first in line {first[key.value] + 1}")
        first[key.value] = key.start_mark.line

"""One value somebody gave a field, and where; from many of them, the configuration that results."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from pydantic import BaseModel, SecretStr, ValidationError

from ..core.redact import without_secret_fields
from ..core.suggest import nearest
from ..errors import UsageError
from ..verdict import VerifierMode
from .fields import TESTING, EnvConfig, OpenAIConfig, Schema, must_be


class Layer(IntEnum):
    """Where values come from; the higher one wins."""

    DEFAULT = 0
    BENCHMARK = 1
    FILE = 2
    INI = 3
    ENVIRONMENT = 4
    COMMAND_LINE = 5


@dataclass(frozen=True)
class Origin:
    """Where one value comes from, in words that lead a user there."""

    layer: Layer
    #: `default`, `benchmark tblite`, `tb.yaml`, `ini key hermes_model`, `PYTEST_HERMES_MODEL`, `--hermes-model`.
    source: str
    #: In a file, from 1.
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


DEFAULT = Origin(Layer.DEFAULT, "default")


@dataclass(frozen=True)
class Setting:
    """A value as it was given."""

    #: `section.field`.
    key: str
    value: object
    origin: Origin


@dataclass(frozen=True)
class Config:
    """A resolved configuration. `env.model_fields_set` tells what anybody set, `origins` who did."""

    env: EnvConfig
    openai: OpenAIConfig
    #: By `section.field`; what is missing has its default.
    origins: Mapping[str, Origin]

    def origin(self, key: str) -> Origin:
        return self.origins.get(key, DEFAULT)

    def value(self, key: str) -> object:
        section, _, name = key.partition(".")
        return getattr(self.env if section == "env" else self.openai, name)

    def verified(self, mode: VerifierMode) -> Config:
        """Return the configuration with another verifier mode."""
        return replace(self, env=self.env.model_copy(update={"verifier": mode}))

    @property
    def api_key(self) -> str | None:
        """The file's key, if the base URL in use is the one that stands beside it."""
        key, url = self.origin("openai.api_key"), self.origin("openai.base_url")
        if self.openai.api_key is None or (key.layer, key.source) != (url.layer, url.source):
            return None
        return self.openai.api_key.get_secret_value() or None


def resolve(settings: Iterable[Setting], schema: Schema = TESTING) -> Config:
    """Return the configuration: of each key the setting of the highest layer, there the last one.

    Its sections are of the classes that `schema` names; lists of a section are left to who asks for them. Every setting
    is checked, also one that another overrides. Raises UsageError with its origin when its key does not exist or its
    value does not fit.
    """
    values: dict[str, dict[str, object]] = {section: {} for section in schema.sections}
    origins: dict[str, Origin] = {}
    for setting in sorted(settings, key=lambda setting: setting.origin.layer):
        if setting.key in schema.lists:
            continue
        check_key(setting.key, setting.origin, schema)
        if setting.key in schema.foreign:
            continue
        section, _, name = setting.key.partition(".")
        values[section][name] = _checked(schema.sections[section], name, setting)
        origins[setting.key] = setting.origin
    env, openai = (_section(name, schema.sections[name], values[name]) for name in ("env", "openai"))
    assert isinstance(env, EnvConfig)
    assert isinstance(openai, OpenAIConfig)
    return Config(env, openai, origins)


def check_key(key: str, origin: Origin, schema: Schema = TESTING) -> None:
    """Raise UsageError, with the nearest key there is, unless `key` may stand in a configuration."""
    known, sections = schema.keys(), schema.sections
    if key in known:
        return
    section, dot, name = key.partition(".")
    if dot and name.split(".")[0] != name and f"{section}.{name.split('.')[0]}" in known:
        parent = f"{section}.{name.split('.')[0]}"
        raise UsageError(f"{origin}: {parent} is set as a whole, as YAML: {parent}={{…}}, not {key!r}")
    candidates = [key] if dot else [*(f"{section}.{key}" for section in sections), key]
    hint = next(filter(None, (nearest(name, known, 0.75) for name in candidates)), None)
    if hint is None and section not in sections:
        hint = nearest(section, sections)
    fields = schema.fields(section) if section in sections else list(sections)
    listing = f"; did you mean {hint}?" if hint else f"; known: {', '.join(fields)}"
    raise UsageError(f"{origin}: unknown key {key!r}{listing}")


def _checked(model: type[BaseModel], name: str, setting: Setting) -> object:
    try:
        return getattr(model.model_validate({name: setting.value}), name)
    except ValidationError as error:
        # A user's own class may have further fields that somebody else sets, or that must agree with each other.
        mine = [problem for problem in error.errors() if problem["loc"][:1] == (name,)]
        if not mine:
            return setting.value
        what = must_be(model, name)
        value = shown(setting.key, setting.value)
        why = f"must be {what}, not {value}" if what else f"cannot be {value}: {mine[0]['msg']}"
        raise UsageError(f"{setting.origin}: {setting.key} {why}") from None


def _section(section: str, model: type[BaseModel], values: Mapping[str, object]) -> BaseModel:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join([section, *(str(part) for part in problem["loc"][:1])])
        raise UsageError(f"{where}: {problem['msg']}") from None


def shown(key: str, value: object) -> str:
    """Return a value short enough for one line, and no secret."""
    if key.endswith("api_key") or isinstance(value, SecretStr):
        return f"a {type(value).__name__}"
    if value is None:
        return "null"
    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = 80
    return brief.repr(without_secret_fields(value))

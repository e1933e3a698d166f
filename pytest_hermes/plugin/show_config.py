"""`--hermes-show-config`: the configuration that results, and where each value comes from."""

from __future__ import annotations

import json
import os
from enum import Enum
from pathlib import Path

import pytest
from pydantic import SecretStr

from ..config.fields import TESTING
from ..config.options import OPTIONS
from ..config.settings import Config
from ..config.unused import BENCHMARK_KEYS, why_not_obeyed, why_unused
from ..core.redact import REDACTED, Redactor, without_secret_fields
from ..errors import UsageError
from ..runs.catalog import load_benchmark
from ..runs.configuration import Configuration
from .options import read_option, read_options

AGENT_FIXTURE = "tests with hermes_agent"

_Row = tuple[str, str, str]


def show_config(config: pytest.Config) -> None:
    """Print a table for each benchmark. Raises pytest.UsageError for what does not exist or does not fit."""
    options, cwd = read_options(config), Path(config.invocation_params.dir)
    try:
        configuration = Configuration(options, cwd)
        configs: dict[str, tuple[Config, dict[str, str]]] = {}
        for spec in dict.fromkeys(options.bench or ()):
            benchmark = load_benchmark(spec, cwd)
            configs[benchmark.name] = (
                configuration.of(benchmark),
                why_not_obeyed(benchmark.name, benchmark.config_fields),
            )
        if not configs:
            configs[AGENT_FIXTURE] = (
                configuration.of_agent_fixture(),
                dict.fromkeys(BENCHMARK_KEYS, "no benchmark runs"),
            )
        redactor = Redactor.from_environment(os.environ, configuration.secrets)
        tables = {name: _rows(resolved, unused, redactor) for name, (resolved, unused) in configs.items()}
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    for line in _lines(tables, _option_rows(config, redactor)):
        print(line)


def _lines(tables: dict[str, list[_Row]], options: list[_Row]) -> list[str]:
    """What is the same everywhere stands once."""
    names, (first, *others) = list(tables), tables.values()
    shared = [row for row in first if all(row in other for other in others)]
    blocks = {", ".join(names): shared}
    if others:
        blocks |= {f"only {name}": [row for row in rows if row not in shared] for name, rows in tables.items()}
    blocks["options"] = options
    blocks = {title: rows for title, rows in blocks.items() if rows}
    widths = [max(len(row[column]) for rows in blocks.values() for row in rows) for column in (0, 1)]
    lines = []
    for title, rows in blocks.items():
        lines += ["", f"{title}:"]
        lines += [f"  {key:<{widths[0]}}  {value:<{min(widths[1], 40)}}  {origin}" for key, value, origin in rows]
    return lines[1:]


def _rows(config: Config, unused: dict[str, str], redactor: Redactor) -> list[_Row]:
    rows = []
    for section in TESTING.sections:
        for name in TESTING.fields(section):
            key = f"{section}.{name}"
            why = why_unused(key) or unused.get(key)
            origin = f"{config.origin(key)}{f' (not used: {why})' if why else ''}"
            rows.append((key, redactor.text(_text(config.value(key))), origin))
    return rows


def _option_rows(config: pytest.Config, redactor: Redactor) -> list[_Row]:
    """The options that were given, without those that stand in the table as a field."""
    rows = []
    for option in OPTIONS:
        value, origin = read_option(config, option)
        if origin and not option.sets:
            rows.append((option.flag, redactor.text(_text(value)), origin))
    return rows


def _text(value: object) -> str:
    """Return a value as YAML takes it, on one line."""
    if isinstance(value, SecretStr):
        return REDACTED
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str) and value and value.isprintable():
        return _without_password(value)
    return json.dumps(without_secret_fields(value), ensure_ascii=False)


def _without_password(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    if not separator or "@" not in host:
        return text
    return f"{scheme}://{REDACTED}@{host.rpartition('@')[2]}{slash}{path}"

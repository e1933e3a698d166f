"""The command line of an environment: `serve`, `process` or `evaluate`, with a flag for each field."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atroposlib.envs.base import BaseEnvConfig
from pydantic import BaseModel, SecretStr

from ..config.fields import EnvConfig, Schema, choices_of, types_of
from ..config.options import comma_list, plain
from ..config.settings import Config, Layer, Origin, Setting, check_key, resolve
from ..config.yaml_text import parse_value, read_settings
from ..core.redact import Redactor
from ..errors import HermesError, UsageError
from ..runs.configuration import endpoint_of
from .env_config import MANAGER_KEYS, HermesAgentEnvConfig, as_list, one_server, schema_of, server_values
from .flags import with_flags
from .modes import run_mode
from .signals import ended_by_signals

if TYPE_CHECKING:
    from .base_env import HermesAgentBaseEnv

log = logging.getLogger("pytest_hermes.atropos")

_MODES = {
    "serve": "train: send scored groups to a run-api for its trainer",
    "process": "make data: write trajectories to a JSONL file, without a trainer",
    "evaluate": "measure: run the evaluation and write its metrics and samples",
}

_EPILOG = """\
Every field is a flag (--env.max_agent_turns 10) and a key of the YAML file that --config names. The command line
overrides the file, and the file overrides the environment's own defaults. Write a list as JSON or with commas:
--env.enabled_toolsets terminal,file. Put the keys of endpoints into environment variables (OPENROUTER_API_KEY,
OPENAI_API_KEY, PYTEST_HERMES_API_KEY) rather than on the command line.
"""

_ALL_MODES = "|".join(_MODES)

#: Exit codes.
FAILED, USAGE = 1, 2


def main(cls: type[HermesAgentBaseEnv], arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Run the environment `cls` as the arguments say (by default the process's), and return the exit code.

    0: done. 1: it failed, or was told to stop by what it found. 2: it was asked for what does not exist or does not
    fit. 128 and the signal's number: stopped by a signal.
    """
    redactor = Redactor.from_environment(os.environ)
    try:
        given = _parse(cls, list(sys.argv[1:] if arguments is None else arguments), program)
        redactor = Redactor.from_environment(os.environ, given.secrets())
        with _log_to_stderr(redactor):
            return _run_given(given)
    except HermesError as error:
        print(f"hermes-env: {with_flags(redactor.text(str(error)))}", file=sys.stderr)
        return USAGE if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:  # before there was anything to close
        return 128 + signal.SIGINT


def _run_given(given: _Given) -> int:
    try:
        return asyncio.run(_run(given.environment(), given.mode))
    except HermesError:
        raise
    except Exception as error:
        # Whatever an environment's own code raises: its author wants to see where.
        log.error("%s: %s", type(error).__name__, error, exc_info=error)
        return FAILED


async def _run(env: HermesAgentBaseEnv, mode: str) -> int:
    with ended_by_signals(env.runner) as received:
        try:
            await run_mode(env, mode)
        except asyncio.CancelledError:
            if not received:
                raise
            return 128 + received[0]
    return 0


class _Given:
    """What was given on the command line, in the file, and by the environment's class."""

    def __init__(self, cls: type[HermesAgentBaseEnv]) -> None:
        self.mode = ""
        self._cls = cls
        config, servers = cls.config_init()
        if not isinstance(config, HermesAgentEnvConfig):
            raise UsageError(f"{cls.__name__}.config_init() must return a HermesAgentEnvConfig first")
        self.config = config
        self.schema = schema_of(type(config))
        self._servers = as_list(servers)
        origin = Origin(Layer.BENCHMARK, f"{cls.__name__}.config_init()")
        own = [(f"env.{name}", getattr(config, name)) for name in sorted(config.model_fields_set)]
        if len(self._servers) == 1:
            own += [(f"openai.{name}", value) for name, value in server_values(self._servers[0]).items()]
        self.settings = [Setting(key, value, origin) for key, value in own]

    def secrets(self) -> list[str]:
        keys = [getattr(server, "api_key", None) for server in self._servers]
        lists = [s.value for s in self.settings if s.key == "openai" and isinstance(s.value, list)]
        settings = [*self.settings, *(setting for servers in lists for server in servers for setting in server)]
        given = [setting.value for setting in settings if setting.key == "openai.api_key"]
        keys += [value.get_secret_value() if isinstance(value, SecretStr) else str(value or "") for value in given]
        return [key for key in keys if key]

    def environment(self) -> HermesAgentBaseEnv:
        """Return the environment, configured. Raises UsageError for what does not fit."""
        config = resolve(self.settings, self.schema)
        assert isinstance(config.env, HermesAgentEnvConfig)
        manager = {setting.key: bool(setting.value) for setting in self.settings if setting.key in MANAGER_KEYS}
        return self._cls(config.env, self._server_list(config), **manager)

    def _server_list(self, config: Config) -> list[Any]:
        of_file = next((setting for setting in self.settings if setting.key == "openai"), None)
        if of_file is None and len(self._servers) == 1:
            return [self._one_server(config)]
        if chosen := [s for s in self.settings if s.key.startswith("openai.") and s.origin.layer > Layer.BENCHMARK]:
            where = of_file.origin if of_file is not None else f"{self._cls.__name__}.config_init()"
            raise UsageError(
                f"{chosen[0].origin}: {chosen[0].key} cannot be set for all of the servers that {where} lists"
            )
        if of_file is None:
            return self._servers
        assert isinstance(of_file.value, list)
        base = [setting for setting in self.settings if setting.origin.layer is Layer.BENCHMARK]
        return [one_server(resolve([*base, *settings], self.schema)) for settings in of_file.value]

    def _one_server(self, config: Config) -> Any:
        if endpoint_of(config) is None and config.openai.base_url is not None:
            elsewhere = ("openai.base_url", "openai.api_key")
            config = resolve([setting for setting in self.settings if setting.key not in elsewhere], self.schema)
        model, url = config.origin("openai.model_name"), config.origin("openai.base_url")
        if url.layer > model.layer and model.layer is Layer.BENCHMARK and config.openai.model_name in ("oracle", "nop"):
            raise UsageError(f"{url}: a base URL also needs a model: add --openai.model_name=NAME")
        return one_server(config)


def _config_path(cls: type[HermesAgentBaseEnv], name: str) -> Path:
    """Return the file: in this folder, or else the benchmark's own of that name."""
    path = Path(name)
    benchmark = cls.load_benchmark() if hasattr(cls, "load_benchmark") else None
    if not path.exists() and benchmark is not None and benchmark.default_config == name:
        return Path(inspect.getfile(type(benchmark))).parent / name
    return path


def _parse(cls: type[HermesAgentBaseEnv], arguments: list[str], program: str | None) -> _Given:
    given = _Given(cls)
    modes = {mode: text for mode, text in _MODES.items() if mode in cls.modes}
    about = (cls.__doc__ or "").strip().split("\n\n")[0]
    parser = argparse.ArgumentParser(
        prog=program or Path(sys.argv[0]).name,
        description="\n".join([about, "", *(f"  {mode:10}{text}" for mode, text in modes.items())]).lstrip("\n"),
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage=f"%(prog)s {_ALL_MODES} [--config FILE] [--env.FIELD VALUE …] [--openai.FIELD VALUE …]",
    )
    parser.add_argument("mode", choices=list(modes), metavar=_ALL_MODES, help="what to do")
    _add_flags(parser, given.schema, given.config)
    values, unknown = parser.parse_known_args(_with_values(arguments))
    for flag in unknown:
        if flag.startswith("--"):
            check_key(flag[2:].partition("=")[0], Origin(Layer.COMMAND_LINE, "command line"), given.schema)
        raise UsageError(f"unknown argument {flag!r}: a flag is --env.FIELD VALUE or --openai.FIELD VALUE; see --help")
    texts = {key: text for key, text in vars(values).items() if text is not None}
    given.mode = texts.pop("mode")
    if (file := texts.pop("config", None)) is not None:
        given.settings += read_settings(_config_path(cls, file), file, schema=given.schema)
    for key, text in texts.items():
        section, _, name = key.partition(".")
        model = given.schema.sections.get(section)
        value = parse_value(text, f"--{key}") if model is None else _value(model, name, text, f"--{key}")
        given.settings.append(Setting(key, value, Origin(Layer.COMMAND_LINE, f"--{key}")))
    return given


def _with_values(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `--flag -1e-3` as `--flag=-1e-3`: argparse would take such a value for a flag."""
    joined: list[str] = []
    for text in arguments:
        flag = joined[-1] if joined else ""
        if flag.startswith("--") and "=" not in flag and re.match("-[^-]", text) and text != "-h":
            joined[-1] = f"{flag}={text}"
        else:
            joined.append(text)
    return joined


def _add_flags(parser: argparse.ArgumentParser, schema: Schema, config: BaseModel) -> None:
    parser.add_argument("--config", metavar="FILE", help="YAML file with the sections env and openai")
    for section, model in schema.sections.items():
        group = parser.add_argument_group(section)
        for name in _ordered(model):
            field = model.model_fields[name]
            default = getattr(config, name, field.default) if section == "env" else field.default
            shown = "" if default is None else f" (default: {getattr(default, 'value', default)})"
            truth = bool in types_of(field.annotation)
            group.add_argument(
                f"--{section}.{name}",
                dest=f"{section}.{name}",
                metavar=_metavar(field.annotation),
                help=plain(f"{field.description or ''}{shown}").replace("%", "%%"),
                # `--env.use_wandb` alone says yes.
                **({"nargs": "?", "const": "true"} if truth else {}),  # type: ignore[arg-type]
            )
    for key in sorted(MANAGER_KEYS):
        parser.add_argument(
            f"--{key}", metavar="BOOL", nargs="?", const="true", help="an option of Atropos's server manager"
        )


def _ordered(model: type[BaseModel]) -> list[str]:
    """Return a section's fields: an environment's own first, then the project's, then Atropos's."""
    others, ours = BaseEnvConfig.model_fields, EnvConfig.model_fields
    return sorted(model.model_fields, key=lambda name: 1 if name in ours else 2 if name in others else 0)


def _metavar(annotation: Any) -> str:
    kinds = types_of(annotation)
    for kind, name in ((bool, "BOOL"), (list, "LIST"), (dict, "JSON"), (int, "N"), (float, "X")):
        if kind in kinds:
            return name
    choices = choices_of(annotation)
    return f"{{{','.join(choices)}}}" if choices else "TEXT"


def _value(model: type[BaseModel], name: str, text: str, flag: str) -> object:
    """Return what a text on the command line means for a field: the texts of lists and numbers are read, others stay.

    Raises UsageError for a text that is no JSON where it must be.
    """
    kinds = types_of(model.model_fields[name].annotation)
    if text in ("None", "null") and type(None) in kinds:
        return None
    if any(kind in kinds for kind in (list, tuple, set)):
        # A list of numbers makes numbers of them.
        return _json(text, flag) if text.lstrip().startswith("[") else comma_list(text)
    if dict in kinds:
        return _json(text, flag)
    if str in kinds or not {bool, int, float} & set(kinds):
        return text
    return parse_value(text, flag)


def _json(text: str, flag: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{flag}: not valid JSON: {error}: {text[:80]!r}") from None


def _speaks_through_us(record: logging.LogRecord) -> bool:
    """Return whether the library that says it leaves it to others to show it."""
    return not logging.getLogger(record.name.partition(".")[0]).handlers


@contextlib.contextmanager
def _log_to_stderr(redactor: Redactor) -> Iterator[None]:
    """Show what is logged, without keys: of this package all, of others warnings."""

    class Redacting(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return with_flags(redactor.text(super().format(record)))

    ours, others = logging.StreamHandler(sys.stderr), logging.StreamHandler(sys.stderr)
    ours.setFormatter(Redacting("hermes-env: %(message)s"))
    others.setFormatter(Redacting("%(name)s: %(levelname)s: %(message)s"))
    others.setLevel(logging.WARNING)
    others.addFilter(_speaks_through_us)
    package = logging.getLogger("pytest_hermes")
    package.addHandler(ours)
    logging.getLogger().addHandler(others)
    log.setLevel(logging.INFO)
    package.propagate = False
    try:
        yield
    finally:
        package.removeHandler(ours)
        logging.getLogger().removeHandler(others)
        package.propagate = True

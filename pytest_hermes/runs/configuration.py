"""The configuration of a session: what its options, its environment, its ini file and its YAML say together."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..benchmark import Benchmark
from ..config.options import OPTIONS, Options
from ..config.settings import Config, Layer, Origin, Setting, resolve
from ..config.unused import BENCHMARK_KEYS, describe_unused, why_not_obeyed
from ..errors import UsageError
from ..models.builtin import BUILTIN
from ..models.limiter import CallLimiter
from ..models.protocol import ModelSource
from ..models.resolve import resolve_judge, resolve_model
from ..models.retry import retry_policy
from ..rollout.plan import PlannedTask
from ..rollout.sessions import sandbox_choice
from ..sandbox.choice import SandboxChoice
from ..tools.tool import Tool
from ..tools.toolsets import resolve_toolsets
from .benchmark_settings import benchmark_settings
from .tasks import read_patterns, select

#: What agents get in tests of the user's own, where no benchmark says.
FIXTURE_TOOLSETS = Setting("env.enabled_toolsets", ["terminal", "file"], Origin(Layer.BENCHMARK, "hermes_agent"))

#: The option that sets any field: unlike the others its name does not tell which.
_ANY_FIELD = "--hermes-set"


class Configuration:
    """Everything a user set. Raises UsageError for what does not exist or does not fit."""

    def __init__(self, options: Options, cwd: Path) -> None:
        self.file = options.config
        self._limit = options.limit
        self._cwd = cwd
        self._settings = tuple(_settings(options, cwd))
        #: What holds whatever the benchmark.
        self.given = resolve(self._settings)

    def of(self, benchmark: Benchmark) -> Config:
        """Return the configuration of one benchmark. Raises UsageError when its own defaults do not fit."""
        return resolve([*benchmark_settings(benchmark), *self._settings])

    def configure(self, benchmark: Benchmark) -> Config:
        """Let a benchmark know its configuration, and return it. Raises what `of` raises."""
        config = self.of(benchmark)
        benchmark.configure(config.env, self._limit)
        return config

    def of_agent_fixture(self) -> Config:
        return resolve([FIXTURE_TOOLSETS, *self._settings])

    @property
    def secrets(self) -> list[str]:
        """What must not be written down, whether it is used or not."""
        key = self.given.openai.api_key
        return [key.get_secret_value()] if key is not None else []

    def unused(self, config: Config, benchmark: Benchmark | None) -> str:
        """Return what was asked for and has no effect on a benchmark, or on a session without one; and why."""
        more = {} if benchmark is None else why_not_obeyed(benchmark.name, benchmark.config_fields)
        if config.openai.base_url is not None and endpoint_of(config) is None:
            more["openai.base_url"] = more["openai.api_key"] = f"{config.openai.model_name} needs no endpoint"
        elif config.api_key is None:
            more["openai.api_key"] = "another base_url is in use"
        if benchmark is None:
            more["env.task_filter"] = more["env.skip_tasks"] = "no benchmark runs"
            more |= dict.fromkeys(BENCHMARK_KEYS, "no benchmark runs")
        return describe_unused(self._settings, more)

    def header(self, configs: Sequence[tuple[Config, Benchmark | None]]) -> list[str]:
        """Return what says which file configures the session, and what of it has no effect: a line, or none."""
        unused = " ".join(dict.fromkeys(filter(None, itertools.starmap(self.unused, configs))))
        words = [*([f"config {self.file}"] if self.file else []), *([f"not used: {unused}"] if unused else [])]
        return ["; ".join(words)] if words else []

    def choose(self, tasks: Sequence[PlannedTask]) -> list[PlannedTask]:
        """Return the tasks to run. Raises UsageError for a filter that matches none, and when none is left."""
        chosen: list[PlannedTask] = []
        for benchmark in dict.fromkeys(task.benchmark for task in tasks):
            config = self.of(benchmark)
            mine = [task for task in tasks if task.benchmark is benchmark]
            with blame(config, *_FILTERS):
                chosen += select(mine, *self._patterns(config, mine, from_benchmark=True))
        with blame(self.given, *_FILTERS):
            return select(chosen, *self._patterns(self.given, chosen, from_benchmark=False))

    def _patterns(self, config: Config, tasks: Sequence[PlannedTask], *, from_benchmark: bool) -> list[Sequence[str]]:
        """Return both filters. A user's hold for all benchmarks together, a benchmark's own for that one."""
        ids = [task.task.id for task in tasks]
        found: list[Sequence[str]] = []
        for key in _FILTERS:
            value: Any = config.value(key) or ()
            applies = (config.origin(key).layer is Layer.BENCHMARK) == from_benchmark
            found.append(read_patterns(value if applies else (), ids, self._cwd))
        return found


_FILTERS = ("env.task_filter", "env.skip_tasks")


def _settings(options: Options, cwd: Path) -> Iterator[Setting]:
    if options.configures:
        from ..config.yaml_text import parse_assignment, read_settings  # YAML is slow to import
    if options.config is not None:
        yield from read_settings(cwd / options.config, options.config)
    for source, text in options.set:
        yield parse_assignment(text, source, _layer(source))
    # After those: from the same source, the option that is made for a field wins.
    for option in OPTIONS:
        value = getattr(options, option.name)
        if option.sets and value is not None:
            # A script that makes its own Options has no other source to name.
            source = options.origins.get(option.name, f"Options.{option.name}")
            yield Setting(option.sets, value, Origin(_layer(source), source))


@contextmanager
def blame(config: Config, *keys: str) -> Iterator[None]:
    """Let a UsageError begin with where the values of `keys` come from, unless its reader has just typed it."""
    try:
        yield
    except UsageError as error:
        raise UsageError(": ".join([*_named(config.origin(key) for key in keys), str(error)])) from None


def _named(origins: Iterable[Origin]) -> list[str]:
    names = [
        str(origin)
        for origin in origins
        if origin.layer is not Layer.DEFAULT and not (origin.source.startswith("--") and origin.source != _ANY_FIELD)
    ]
    return [", ".join(dict.fromkeys(names))] if names else []


def endpoint_of(config: Config) -> str | None:
    """Return the base URL that was set, None where it was set for another model than the one that answers."""
    model, url = (config.origin(f"openai.{name}").layer for name in ("model_name", "base_url"))
    if config.openai.model_name in BUILTIN and model > url:
        return None
    return config.openai.base_url


def tools_of(config: Config) -> tuple[Tool, ...]:
    """Return what an agent may call. Raises UsageError for toolsets that do not exist."""
    with blame(config, "env.enabled_toolsets", "env.disabled_toolsets"):
        return tuple(resolve_toolsets(config.env.enabled_toolsets, config.env.disabled_toolsets))


def sandbox_of(config: Config) -> SandboxChoice:
    """Return where commands run. Raises UsageError for a backend that does not exist or cannot do what is asked."""
    choice = sandbox_choice(config.env)
    with blame(config, "env.terminal_backend", "env.terminal_image", "env.terminal_options"):
        choice.check()
    return choice


def _layer(source: str) -> Layer:
    if source.startswith(("--", "Options.")):
        return Layer.COMMAND_LINE
    return Layer.INI if source.startswith("ini key") else Layer.ENVIRONMENT


def model_source(config: Config, who: str, **endpoint: Any) -> ModelSource:
    """Return who answers `who`, as messages call it; `endpoint` holds further arguments of `resolve_model`.

    Raises UsageError when nobody would.
    """
    environ = dict(os.environ)
    if config.api_key is not None:
        environ["PYTEST_HERMES_API_KEY"] = config.api_key
    by_default = config.origin("openai.model_name").layer is Layer.BENCHMARK
    chosen = config.openai.model_name
    with blame(config, "openai.base_url"):
        return resolve_model(
            None if by_default else chosen,
            endpoint_of(config),
            chosen if by_default else None,
            environ,
            who=who,
            **endpoint,
        )


def judge_source(options: Options, calls: CallLimiter) -> ModelSource | None:
    """Return the model that judges, None where none is named. `calls` limits its answers in flight.

    Raises UsageError when nobody would answer.
    """
    try:
        return resolve_judge(
            options.judge_model,
            options.judge_base_url,
            os.environ,
            calls=calls,
            policy=retry_policy(options.request_timeout),
        )
    except UsageError as error:
        raise UsageError(f"judge: {error}") from None

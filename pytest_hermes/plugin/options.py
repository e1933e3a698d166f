"""The options: each is a command-line flag, an ini key `hermes_*` and an environment variable `PYTEST_HERMES_*`.

The command line wins over the environment, the environment over the ini file, that over the file `--hermes-config`
names, and all of them over the benchmark's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

import pytest

from ..core.suggest import nearest


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


def _positive_int(value: str) -> int:
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError("must be a whole number of at least 1")
    return number


def _seconds(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        raise ValueError("must be a number of seconds greater than 0")
    return number


def _at_least_0(value: str) -> int:
    if not value.strip().isdecimal():
        raise ValueError("must be a whole number, 0 or more")
    return int(value)


def _dollars(value: str) -> Decimal:
    try:
        amount = Decimal(value.strip().removeprefix("$"))
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise ValueError("must be an amount of dollars greater than 0, such as 2.50")
    return amount


def _network(value: str) -> str:
    if value not in ("none", "default"):
        raise ValueError("must be 'none' or 'default'")
    return value


def _verifier(value: str) -> str:
    if value.strip() not in ("same", "fresh"):
        raise ValueError("must be same or fresh")
    return value.strip()


def _names(value: str) -> list[str]:
    """A comma list; commas inside brackets or quotes do not occur in names and globs."""
    names = [name.strip() for name in value.replace("\n", ",").split(",") if name.strip()]
    if not names:
        raise ValueError("must name at least one")
    return names


def _flag(name: str) -> str:
    return "--hermes-" + name.replace("_", "-")


@dataclass(frozen=True)
class Option:
    """One option; `parse` turns a text into its value, or raises ValueError with what it must be."""

    name: str
    parse: Callable[[str], Any]
    help: str
    metavar: str
    #: May be given several times, and as a comma list.
    repeatable: bool = False

    @property
    def flag(self) -> str:
        return _flag(self.name)

    @property
    def dest(self) -> str:
        return "hermes_" + self.name

    @property
    def variable(self) -> str:
        return "PYTEST_HERMES_" + self.name.upper()


OPTIONS = (
    Option(
        "bench",
        _names,
        "run this benchmark: the name of an installed one (see --hermes-list) or path/to/file.py:Class; "
        "without a path, nothing else is collected; may be repeated, or a comma list",
        "NAME",
        repeatable=True,
    ),
    Option("task", _names, "only tasks with this id or glob; may be repeated, or a comma list", "ID", True),
    Option("limit", _positive_int, "the first N tasks of each benchmark, of those that are not filtered out", "N"),
    Option("skip_task", _names, "no tasks with this id or glob; may be repeated, or a comma list", "ID", True),
    Option(
        "model",
        _text,
        "who answers: a model name as its endpoint knows it (anthropic/claude-sonnet-4.6), "
        "'oracle' to play the reference solutions, or 'nop' to do nothing",
        "NAME",
    ),
    Option(
        "base_url",
        _text,
        "an OpenAI-compatible endpoint, e.g. http://localhost:8000/v1; its key, if it wants one, is "
        "read from PYTEST_HERMES_API_KEY. Without it the endpoint follows from OPENAI_BASE_URL, "
        "OPENROUTER_API_KEY or OPENAI_API_KEY",
        "URL",
    ),
    Option(
        "judge_model",
        _text,
        "the model that judges, of benchmarks and tests whose rewards ask one (ctx.judge)",
        "NAME",
    ),
    Option(
        "judge_base_url",
        _text,
        "the judge's endpoint; its key, if it wants one, is read from PYTEST_HERMES_JUDGE_API_KEY. Without it the "
        "endpoint follows from OPENAI_BASE_URL, OPENROUTER_API_KEY or OPENAI_API_KEY",
        "URL",
    ),
    Option(
        "dataset",
        _text,
        "where a dataset benchmark gets its tasks: a Hugging Face dataset (owner/name), a .parquet, .jsonl or "
        ".jsonl.gz file of such rows, or a folder of task directories in the Harbor layout",
        "SOURCE",
    ),
    Option("dataset_revision", _text, "commit, tag or branch of a Hugging Face dataset (default: its newest)", "REV"),
    Option(
        "verifier",
        _verifier,
        "where a task's tests run: same (default: in the agent's sandbox) or fresh (in a new sandbox, with what the "
        "agent made)",
        "WHERE",
    ),
    Option(
        "sandbox",
        _text,
        "where the agents' commands run: local (default), or docker: a container for each attempt, on the engine that "
        "DOCKER_HOST or the current Docker context names",
        "NAME",
    ),
    Option(
        "image",
        _text,
        "container image of tasks that name none (default: debian:stable-slim); any that has a shell and tar",
        "IMAGE",
    ),
    Option(
        "sandbox_network",
        _network,
        "none cuts every sandbox off from the network; default leaves it to the task and the backend",
        "none|default",
    ),
    Option(
        "concurrency",
        _positive_int,
        "rollouts in flight at once (default 4); with pytest-xdist, -n N says the same",
        "N",
    ),
    Option(
        "procs",
        _positive_int,
        "processes that the rollouts in flight are spread over (default 1); more than one needs pytest-xdist",
        "M",
    ),
    Option("attempts", _positive_int, "attempts of each task, as separate items (default 1)", "K"),
    Option(
        "task_timeout",
        _seconds,
        "cap on the agent's time for one task; a task's own shorter limit stays",
        "SECONDS",
    ),
    Option(
        "max_cost",
        _dollars,
        "what the run may cost; then attempts in flight end as errors of kind 'budget' and no more are started",
        "DOLLARS",
    ),
    Option("judge_max_cost", _dollars, "what the judge may cost, apart from the agents; then likewise", "DOLLARS"),
    Option("max_tokens", _positive_int, "prompt and completion tokens the run may use, likewise", "N"),
    Option("max_turns", _positive_int, "model calls the run may make, all its attempts together, likewise", "N"),
    Option(
        "max_seconds",
        _seconds,
        "time for the whole run; when it is over, attempts in flight end at once, likewise",
        "SECONDS",
    ),
    Option(
        "infra_retries",
        _at_least_0,
        "times that an attempt is started afresh after an infrastructure error, in a new sandbox (default 0: "
        "every start is paid for)",
        "N",
    ),
    Option(
        "request_timeout",
        _seconds,
        "time for one request to the model, after which it is made again (default 600)",
        "SECONDS",
    ),
    Option(
        "run_dir",
        _text,
        "folder for results.jsonl, which is appended to (default: hermes-runs/ and a name with the time)",
        "DIR",
    ),
    Option(
        "resume",
        _text,
        "go on with the run in this folder: only attempts without a line in its results run, the others are reported",
        "RUN_DIR",
    ),
    Option(
        "config",
        _text,
        "YAML file with the sections env and openai, as Hermes environments take it; the other options win over it",
        "FILE",
    ),
)

#: Not like the others: each place adds to what weaker ones set, and commas belong to values.
SET = Option(
    "set",
    _text,
    "set one field of the configuration, e.g. env.max_agent_turns=10, the value in YAML; may be repeated "
    "(in the ini file and the environment: one a line)",
    "FIELD=VALUE",
    repeatable=True,
)

#: Switches of one run, on the command line only: what they ask for belongs to no file.
SWITCHES = {
    "retry_errors": "with --hermes-resume: run attempts again that ended in an error",
    "resume_force": "with --hermes-resume: go on although the model, the dataset or the configuration differ",
    "validate": "check that a benchmark is sound here: run each task with the oracle, which must pass, and with nop, "
    "which must not",
}

#: What means nothing without a benchmark: who gives one of these on the command line forgot to name it.
_OF_BENCHMARKS = ("resume", "validate", "task", "skip_task", "limit")

COMMANDS = {
    "--hermes-list": "list the installed benchmarks, or with --hermes-bench the tasks of those, and exit",
    "--hermes-show-config": "show the configuration that results, and where each value comes from, and exit",
}


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("hermes", "agent benchmarks (pytest-hermes)")
    for option in (*OPTIONS, SET):
        group.addoption(
            option.flag,
            dest=option.dest,
            action="append" if option.repeatable else "store",
            default=None,
            metavar=option.metavar,
            help=f"{option.help} [ini: {option.dest}, env: {option.variable}]",
        )
        parser.addini(option.dest, option.help, default=None)
    for name, text in SWITCHES.items():
        group.addoption(_flag(name), dest="hermes_" + name, action="store_true", default=False, help=text)
    for flag, text in COMMANDS.items():
        group.addoption(flag, action="store_true", default=False, help=text)


def check_flags(args: Sequence[str]) -> None:
    """Raise pytest.UsageError for a flag that is nearly one of ours; pytest would only call it unrecognized."""
    known = [*(option.flag for option in (*OPTIONS, SET)), *map(_flag, SWITCHES), *COMMANDS]
    for arg in args:
        flag = arg.partition("=")[0]
        if flag.startswith("--") and flag not in known and (close := nearest(flag, known, 0.85)):
            raise pytest.UsageError(f"unknown option {flag}; did you mean {close}?")


def read_option(config: pytest.Config, option: Option, environ: Mapping[str, str] | None = None) -> tuple[Any, str]:
    """Return the value of an option and where it came from, (None, "") when it is nowhere.

    Raises pytest.UsageError that names the place when the value does not fit.
    """
    environ = os.environ if environ is None else environ
    given = config.getoption(option.dest, None)
    if given is not None:
        text, origin = (",".join(given) if option.repeatable else given), option.flag
    elif environ.get(option.variable):
        text, origin = environ[option.variable], option.variable
    elif (ini := config.getini(option.dest)) is not None and str(ini).strip():
        text, origin = str(ini), f"ini key {option.dest}"
    else:
        return None, ""
    try:
        return option.parse(text), origin
    except ValueError as error:
        raise pytest.UsageError(f"{origin}={text!r}: {error}") from None


@dataclass(frozen=True)
class Options:
    """What the user asked for. None: he did not say."""

    bench: list[str] | None
    task: list[str] | None
    skip_task: list[str] | None
    model: str | None
    base_url: str | None
    judge_model: str | None
    judge_base_url: str | None
    sandbox: str | None
    image: str | None
    sandbox_network: str | None
    concurrency: int | None
    procs: int | None
    attempts: int | None
    task_timeout: float | None
    max_cost: Decimal | None
    judge_max_cost: Decimal | None
    max_tokens: int | None
    max_turns: int | None
    max_seconds: float | None
    infra_retries: int | None
    limit: int | None
    request_timeout: float | None
    run_dir: str | None
    dataset: str | None = None
    dataset_revision: str | None = None
    verifier: str | None = None
    #: Relative to where pytest was started.
    resume: str | None = None
    retry_errors: bool = False
    resume_force: bool = False
    validate: bool = False
    #: Relative to where pytest was started.
    config: str | None = None
    #: What `--hermes-set` and its like say, as (place, `section.field=VALUE`), the strongest last.
    assignments: tuple[tuple[str, str], ...] = ()
    #: Where each option that was given comes from, by its name.
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_budget(self) -> bool:
        """Whether anything limits the run as a whole."""
        limits = (self.max_cost, self.judge_max_cost, self.max_tokens, self.max_turns, self.max_seconds)
        return any(limit is not None for limit in limits)

    @property
    def configures(self) -> bool:
        """Whether there is a configuration beside the options themselves."""
        return self.config is not None or bool(self.assignments)


def check_without_benchmark(typed: Sequence[str]) -> None:
    """Raise pytest.UsageError when what the user typed has an option that no session without a benchmark can heed.

    What the ini file adds to each command line may be there for the sessions that have one.
    """
    given = {str(text).partition("=")[0] for text in typed}
    for name in _OF_BENCHMARKS:
        if (flag := _flag(name)) in given:
            raise pytest.UsageError(f"{flag} needs a benchmark: name it with --hermes-bench")


def read_options(config: pytest.Config) -> Options:
    """Return all options. Raises pytest.UsageError for one that does not fit."""
    found = {option.name: read_option(config, option) for option in OPTIONS}
    values = {name: value for name, (value, _) in found.items()}
    for name in ("config", "dataset"):
        if values[name] is not None and found[name][1].startswith("ini key") and config.inipath is not None:
            # As pytest's own ini keys: from the folder of the file they stand in.
            path = config.inipath.parent / values[name]
            if name == "config" or path.exists():  # a dataset may be none of paths
                values[name] = os.path.relpath(path, config.invocation_params.dir)
    values |= {name: bool(config.getoption("hermes_" + name, False)) for name in SWITCHES}
    for name in ("retry_errors", "resume_force"):
        if values[name] and values["resume"] is None:
            raise pytest.UsageError(f"{_flag(name)} needs {_flag('resume')}")
    origins = {name: origin for name, (_, origin) in found.items() if origin}
    return Options(**values, assignments=_read_assignments(config), origins=origins)


def _read_assignments(config: pytest.Config) -> tuple[tuple[str, str], ...]:
    places = (
        (f"ini key {SET.dest}", str(config.getini(SET.dest) or "").splitlines()),
        (SET.variable, os.environ.get(SET.variable, "").splitlines()),
        (SET.flag, config.getoption(SET.dest, None) or []),
    )
    return tuple((place, text) for place, texts in places for text in texts if text.strip())

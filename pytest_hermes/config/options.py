"""The options of a run. Each is defined here, once, and the rest follows.

`model` is the option `--hermes-model`, the ini key `hermes_model`, the environment variable `PYTEST_HERMES_MODEL` and
the attribute `Options.model`. An option that sets a field of the configuration also gives that field its default and
its description, which the flag of `hermes-env` has as well. Help and documentation are made of the same texts.

Nothing but the standard library is imported here: every start of pytest reads this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from enum import Enum
from math import inf
from typing import Any, Final, Literal, TypeVar, get_args

T = TypeVar("T")

#: Rollouts in flight where neither `--hermes-concurrency` nor `-n` says.
DEFAULT_IN_FLIGHT: Final = 4

Names = list[str]

#: Where a task's tests run.
Verifier = Literal["same", "strict", "fresh", "both"]


class Network(Enum):
    """The network of sandboxes."""

    NONE = "none"
    DEFAULT = "default"


def comma_list(text: str) -> Names:
    """Return the names in a text with commas or line ends between; they hold neither."""
    return [name.strip() for name in text.replace("\n", ",").split(",") if name.strip()]


def plain(markdown: str) -> str:
    """Return a text as a terminal shows it."""
    return markdown.replace("`", "'")


def _reader(read: Callable[[str], T], fits: Callable[[T], bool], must: str) -> Callable[[str], T]:
    """Return what turns a text into a value, and raises ValueError that says what it must be."""

    def parse(text: str) -> T:
        try:
            value = read(text.strip())
            if fits(value):
                return value
        except (ValueError, ArithmeticError):
            pass
        raise ValueError(f"must {must}")

    return parse


def _one_of(*words: str) -> Callable[[str], str]:
    return _reader(str, words.__contains__, f"be {' or '.join(map(repr, words))}")


_text = _reader(str, bool, "not be empty")
_names = _reader(comma_list, bool, "name at least one")
_count = _reader(int, lambda number: number >= 1, "be a whole number of at least 1")
_from_0 = _reader(int, lambda number: number >= 0, "be a whole number, 0 or more")
_seconds = _reader(float, lambda number: 0 < number < inf, "be a number of seconds greater than 0")
_dollars = _reader(
    lambda text: Decimal(text.removeprefix("$")),
    lambda amount: amount.is_finite() and amount > 0,
    "be an amount of dollars greater than 0, such as 2.50",
)


@dataclass(frozen=True)
class Option:
    """One option."""

    name: str
    #: Turns a text into the value, or raises ValueError with what it must be. None for a switch, which takes no value
    #: and stands on the command line only: what it asks for belongs to no file.
    parse: Callable[[str], Any] | None
    metavar: str
    #: What it is for. This and `otherwise` are Markdown, as are descriptions of fields.
    about: str
    #: What holds when nobody says, as a value.
    default: Any = None
    #: The same in words, where it is no value.
    otherwise: str = ""
    #: What it takes beyond the values of the field that it sets.
    further: str = ""
    #: The field of the configuration that it sets, as `section.field`.
    sets: str = ""
    #: For a switch: what a number says that may follow it, as in `--hermes-validate=5`. Its value is then that number,
    #: 1 for the switch alone, and 0 without it.
    times: str = ""

    def read(self, value: object) -> Any:
        """Return a value that a script has set, checked. Raises ValueError."""
        given = f"Options.{self.name}={value!r}"
        if self.times:
            if isinstance(value, bool | int) and value >= 0:
                return int(value)
            raise ValueError(f"{given}: must be True, False or a number of times")
        if self.parse is None:
            if not isinstance(value, bool):
                raise ValueError(f"{given}: must be True or False")
            return value
        if value is None or (self.name == "set" and not value):
            return value
        try:
            if self.name == "set":
                pairs = [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
                return tuple(("Options.set", pair) if isinstance(pair, str) else tuple(pair) for pair in pairs)
            if self.parse is _names and not isinstance(value, str):
                value = ",".join(map(str, value))  # type: ignore[call-overload]
            return self.parse(str(value.value if isinstance(value, Enum) else value))
        except TypeError:
            raise ValueError(f"{given}: must be a string, or a list of strings") from None
        except ValueError as error:
            raise ValueError(f"{given}: {error}") from None

    @property
    def flag(self) -> str:
        return "--hermes-" + self.name.replace("_", "-")

    @property
    def dest(self) -> str:
        """The ini key, and the name of its value among pytest's."""
        return "hermes_" + self.name

    @property
    def variable(self) -> str:
        return "PYTEST_HERMES_" + self.name.upper()

    @property
    def repeatable(self) -> bool:
        """Whether it may be given several times."""
        return self.parse is _names or self.name == "set"

    @property
    def default_text(self) -> str:
        """What holds when nobody says; empty when that is nothing."""
        default = f"{self.default:g}" if isinstance(self.default, float) else str(self.default)
        return self.otherwise or (f"`{default}`" if self.default not in (None, ()) else "")

    @property
    def meaning(self) -> str:
        """What it is for, and how often it may be given."""
        repeated = "may be repeated, or given as a comma list" if self.parse is _names else ""
        return "; ".join(filter(None, (self.about, self.further, repeated)))

    @property
    def help(self) -> str:
        default = f" (default: {self.default_text})" if self.default_text else ""
        where = f" [ini: {self.dest}, env: {self.variable}]" if self.parse else ""
        return plain(f"{self.meaning}{default}{where}")

    @property
    def description(self) -> str:
        """What it is for, as the description of the field that it sets."""
        otherwise = f"; if not set: {self.otherwise}" if self.otherwise else ""
        return f"{self.about[:1].upper()}{self.about[1:]}{otherwise}."


def _option(parse: Callable[[str], Any], metavar: str, about: str, **more: Any) -> Any:
    option = Option("", parse, metavar, about, **more)
    # A field of the configuration has the default itself.
    return field(default=None if option.sets else option.default, metadata={"option": option})


def _switch(about: str, times: str = "") -> Any:
    return field(default=0 if times else False, metadata={"option": Option("", None, "", about, times=times)})


def read_times(option: Option, text: str) -> int:
    """Return the number that follows a switch. Raises ValueError."""
    try:
        return _count(text)
    except ValueError as error:
        raise ValueError(f"{error} ({option.times}); to give a path as well, write {option.flag}=1") from None


_ENDPOINT: Final = "the endpoint of `OPENAI_BASE_URL`, `OPENROUTER_API_KEY` or `OPENAI_API_KEY`"
_NO_LIMIT: Final = {"otherwise": "no limit"}


# fmt: off
# ruff: noqa: RUF009  what is called here makes a field
@dataclass(frozen=True)
class Options:
    """What the user asked for. None: he did not say."""

    bench: Names | None = _option(
        _names, "NAME",
        "a benchmark to run: the name of an installed one, or `path/to/file.py:Class`. If you give pytest no path, it "
        "collects nothing else",
    )
    list: bool = _switch(
        "list the installed benchmarks and exit; with `--hermes-bench`, list the tasks of those, and with `-v` also "
        "what would keep each of them from running"
    )
    task: Names | None = _option(
        _names, "ID", "ids or globs of the tasks to run", otherwise="all", sets="env.task_filter"
    )
    skip_task: Names | None = _option(
        _names, "ID", "ids or globs of tasks to leave out, or `@FILE`, a file with one of them per line",
        sets="env.skip_tasks"
    )
    limit: int | None = _option(
        _count, "N", "maximum number of tasks of each benchmark: the first N that the filters leave", otherwise="all"
    )
    model: str | None = _option(
        _text, "NAME",
        "the model that the agent uses: its name at the endpoint (`anthropic/claude-sonnet-4.6`), `oracle` to play the "
        "reference solutions, or `nop` to do nothing",
        otherwise="the benchmark's own model, if it has one", sets="openai.model_name",
    )
    base_url: str | None = _option(
        _text, "URL",
        "an OpenAI-compatible endpoint, such as `http://localhost:8000/v1`; its key, if it needs one, is read from "
        "`PYTEST_HERMES_API_KEY`",
        otherwise=_ENDPOINT, sets="openai.base_url",
    )
    judge_model: str | None = _option(
        _text, "NAME", "the model that judges, for benchmarks and tests whose rewards use a judge"
    )
    judge_base_url: str | None = _option(
        _text, "URL", "the judge's endpoint; its key, if it needs one, is read from `PYTEST_HERMES_JUDGE_API_KEY`",
        otherwise=_ENDPOINT,
    )
    dataset: str | None = _option(
        _text, "SOURCE",
        "where a dataset benchmark gets its tasks: a Hugging Face dataset (`owner/name`), a `.parquet`, `.jsonl` or "
        "`.jsonl.gz` file with rows of the same form, or a folder of task directories in the Harbor layout",
        otherwise="the benchmark's own dataset", sets="env.dataset_name",
    )
    dataset_revision: str | None = _option(
        _text, "REV", "commit, tag or branch of a Hugging Face dataset",
        otherwise="the newest commit", sets="env.dataset_revision",
    )
    verifier: str | None = _option(
        _one_of(*get_args(Verifier), "all"), "MODE",
        "where a task's tests run: in the agent's sandbox as the agent left it (`same`) or with its processes ended "
        "(`strict`), in a new sandbox to which the agent's files are copied (`fresh`), or in `same` and, when the "
        "attempt passes, in `strict` too, to report what differs (`both`)",
        further="with `--hermes-validate` also `all`",
        otherwise="what the task asks for, else `same`", sets="env.verifier",
    )
    sandbox: str | None = _option(
        _text, "NAME",
        "where the agent's commands run: `local`, `docker` (a container for each attempt, on the Docker engine that "
        "`DOCKER_HOST` or the current Docker context names), or another sandbox that is installed",
        default="local", sets="env.terminal_backend",
    )
    image: str | None = _option(
        _text, "IMAGE", "container image for tasks that name none; it needs a shell and tar",
        otherwise="the sandbox's own image, such as `debian:stable-slim`", sets="env.terminal_image",
    )
    sandbox_network: str | None = _option(
        _one_of(*(network.value for network in Network)), "none|default",
        "`none` cuts every sandbox off from the network, `default` lets the task and the sandbox decide",
        default="default", sets="env.terminal_network",
    )
    concurrency: int | None = _option(
        _count, "N",
        "maximum number of rollouts in flight; with pytest-xdist, `-n N` means the same, `-n auto` means four for each "
        "core, and `-n 0` means one",
        otherwise=f"`{DEFAULT_IN_FLIGHT}`",
    )
    procs: int = _option(
        _count, "M", "number of processes (pytest-xdist workers) that share the rollouts in flight", default=1
    )
    attempts: int = _option(
        _count, "K", "attempts of each task; each is a separate pytest item: `task@1` … `task@K`", default=1
    )
    task_timeout: float | None = _option(
        _seconds, "SECONDS", "upper limit on the agent's time for one task; a shorter limit of the task still applies",
        otherwise="the task's own limit",
    )
    max_cost: Decimal | None = _option(
        _dollars, "DOLLARS",
        "limit on the cost of all answers of the run, not counting the judge's. The run ends at the first answer whose "
        "price is unknown. When this limit or one of those below is reached, no more attempts are started, and those "
        "in flight end as errors of kind `budget`",
        **_NO_LIMIT,
    )
    judge_max_cost: Decimal | None = _option(
        _dollars, "DOLLARS",
        "limit on the cost of all answers of the judge. The run ends at the first one whose price is unknown",
        **_NO_LIMIT,
    )
    max_tokens: int | None = _option(
        _count, "N", "limit on the prompt and completion tokens of the run, all attempts together", **_NO_LIMIT
    )
    max_turns: int | None = _option(
        _count, "N", "limit on the answered model calls of the run, all attempts together", **_NO_LIMIT
    )
    max_seconds: float | None = _option(
        _seconds, "SECONDS",
        "limit on the wall time of the run, from the moment when its tasks are known. When it is over, attempts in "
        "flight end at once",
        **_NO_LIMIT,
    )
    infra_retries: int = _option(
        _from_0, "N",
        "how often an attempt is started again, in a new sandbox, after an infrastructure error; you pay for "
        "every start",
        default=0,
    )
    request_timeout: float = _option(
        _seconds, "SECONDS", "time limit of one request to the model; a request that takes longer is made again",
        default=600.0,
    )
    #: Relative to where pytest was started, as are `resume` and `config`.
    run_dir: str | None = _option(
        _text, "DIR", "folder for `results.jsonl`; new results are appended", otherwise="a new one in `hermes-runs/`"
    )
    resume: str | None = _option(
        _text, "RUN_DIR",
        "continue the run in this folder: an attempt that has a line in its results is reported from there, and the "
        "others run",
    )
    retry_errors: bool = _switch("with `--hermes-resume`: run the attempts that ended in an error again")
    resume_force: bool = _switch(
        "with `--hermes-resume`: continue although the model, the dataset or the configuration differ"
    )
    validate: int = _switch(
        "check that a benchmark works on this machine: run each task with `oracle`, which must pass, and with `nop`, "
        "which must not; `--hermes-validate=5` does it five times, and lists the tasks whose outcomes differ",
        times="how often each task runs",
    )
    config: str | None = _option(
        _text, "FILE",
        "YAML file with the sections `env` and `openai`, the same as for Hermes environments; other options override "
        "it",
    )
    #: As (source, `section.field=VALUE`), the strongest last. Each source adds to what weaker ones say.
    set: tuple[tuple[str, str], ...] = _option(
        _text, "FIELD=VALUE",
        "set one field of the configuration, such as `env.max_agent_turns=10`; the value is YAML; may be repeated (in "
        "the ini file and the environment: one per line)",
        default=(),
    )
    show_config: bool = _switch("show the resulting configuration, with the origin of each value, and exit")
    #: Where each option that was given comes from, by its name.
    origins: Mapping[str, str] = field(default_factory=dict)

    # fmt: on

    def checked(self) -> Options:
        """Return the options of a script as the command line would have read them: `"2"` is 2 where a number belongs.

        Raises ValueError, naming the option, for a value that the command line would not take either.
        """
        values = {option.name: option.read(getattr(self, option.name)) for option in OPTIONS}
        if not values["bench"]:
            raise ValueError("Options.bench must name at least one benchmark")
        return replace(self, **values)

    @property
    def has_budget(self) -> bool:
        """Whether anything limits the run as a whole."""
        limits = (self.max_cost, self.judge_max_cost, self.max_tokens, self.max_turns, self.max_seconds)
        return any(limit is not None for limit in limits)

    @property
    def configures(self) -> bool:
        """Whether there is a configuration beside the options themselves."""
        return self.config is not None or bool(self.set)


OPTIONS: Final = tuple(
    replace(entry.metadata["option"], name=entry.name) for entry in fields(Options) if "option" in entry.metadata
)

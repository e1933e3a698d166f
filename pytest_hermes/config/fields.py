"""The fields of a configuration, in the two sections of its YAML: `env` and `openai`.

Names, types and defaults are those of the Hermes environments' configuration reference, so that one file serves both
doors; `terminal_image`, `terminal_network` and `terminal_options` are added to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, SecretStr

from .options import OPTIONS, Verifier, comma_list
from .options import Network as Network


class EvalHandling(Enum):
    """What becomes of training while an evaluation runs."""

    STOP_TRAIN = "STOP_TRAIN"
    LIMIT_TRAIN = "LIMIT_TRAIN"
    NONE = "NONE"


@dataclass(frozen=True)
class MustBe:
    """Says in a user's words what a field accepts, where its type does not; pydantic's own message names types."""

    text: str


def _no_bool(value: object) -> object:
    # `yes` is a bool in YAML and a bool is a number in Python.
    if isinstance(value, bool):
        raise ValueError("true or false is not a number")
    return value


def _name_list(value: object) -> object:
    """Split a comma list; a list stays one, and an empty text says nothing."""
    return (isinstance(value, str) and comma_list(value)) or value


def _by_option(key: str) -> Any:
    """Return the field `key`, which an option sets: its default and its description stand there."""
    option = next(option for option in OPTIONS if option.sets == key)
    return Field(option.default, validate_default=True, description=option.description)


#: A whole number that counts something or says how many seconds.
Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=1), MustBe("a whole number of at least 1")]
Text = Annotated[str, MustBe("a string")]
Name = Annotated[str, Field(min_length=1, pattern=r"\S"), MustBe("a name")]
Names = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    BeforeValidator(_name_list),
    MustBe("a list of names, or names separated by commas"),
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EnvConfig(_Section):
    """The section `env`: how agents work on tasks, and on which."""

    enabled_toolsets: Names | None = Field(
        None,
        description="Toolsets whose tools the agent may call; if not set: in a benchmark all toolsets, in your own "
        "tests `terminal` and `file`.",
    )
    disabled_toolsets: Names | None = Field(None, description="Toolsets whose tools the agent may not call.")
    distribution: Name | None = Field(
        None, description="Name of a probability distribution over toolsets, sampled for each group of rollouts."
    )
    max_agent_turns: Count = Field(
        30, description="Limit on the model calls of one attempt, for tasks that set no limit."
    )
    agent_temperature: Annotated[
        Annotated[float, BeforeValidator(_no_bool), Field(ge=0)] | None,
        MustBe("a number of at least 0, or null to leave it to the endpoint"),
    ] = Field(1.0, description="Sampling temperature; with `null`, the endpoint decides.")
    system_prompt: Text | None = Field(None, description="System message that precedes each task's prompt.")
    terminal_backend: Name = _by_option("env.terminal_backend")
    terminal_image: Annotated[Name | None, MustBe("a container image")] = _by_option("env.terminal_image")
    terminal_network: Network = _by_option("env.terminal_network")
    terminal_options: Annotated[dict[str, JsonValue] | None, MustBe("a mapping of option names to values")] = Field(
        None,
        description="Further options of the backend; for docker, those of `docker run`, named as in the SDK; for "
        "local, `bind` and `ro_bind`.",
    )
    terminal_timeout: Count = Field(
        120, description="Time limit of one terminal command in seconds, unless the model asks for another."
    )
    terminal_lifetime: Count = Field(
        3600,
        description="Time limit of an agent in its sandbox in seconds; it has an effect only if you set it.",
    )
    dataset_name: Name | None = _by_option("env.dataset_name")
    dataset_split: Name = Field("train", description="Split of a Hugging Face dataset.")
    dataset_revision: Annotated[Name | None, MustBe("a commit, tag or branch")] = _by_option("env.dataset_revision")
    prompt_field: Name = Field("prompt", description="Field of a dataset's rows that holds the prompt.")
    tool_pool_size: Count = Field(128, description="Number of threads for tool calls.")
    tool_call_parser: Name = Field(
        "hermes", description="Format of the tool calls in a raw completion of a model server."
    )
    extra_body: Annotated[dict[str, JsonValue] | None, MustBe("a mapping of names to JSON values")] = Field(
        None, description="Further parameters of every request, such as preferences for a provider."
    )
    eval_handling: EvalHandling = Field(
        EvalHandling.STOP_TRAIN,
        description="What happens to training while an evaluation runs: it stops (`STOP_TRAIN`), continues with fewer "
        "workers (`LIMIT_TRAIN`), or continues as before (`NONE`).",
    )
    max_token_length: Count | None = Field(
        None,
        description="Limit on the tokens of one answer of the model, sent as `max_tokens` of the request; if not set: "
        "as many as the endpoint allows.",
    )
    verifier: Verifier | None = _by_option("env.verifier")
    force_build: bool = Field(False, description="Build images from their Dockerfiles even if ready images exist.")
    task_filter: Names | None = _by_option("env.task_filter")
    skip_tasks: Names | None = _by_option("env.skip_tasks")


class OpenAIConfig(_Section):
    """The section `openai`: who answers."""

    base_url: Annotated[Name | None, MustBe("an http(s) address")] = _by_option("openai.base_url")
    model_name: Name | None = _by_option("openai.model_name")
    api_key: Annotated[SecretStr | None, MustBe("a string")] = Field(
        None, description="Key of `base_url`; accepted only in the file that also sets `base_url`."
    )


SECTIONS: dict[str, type[BaseModel]] = {"env": EnvConfig, "openai": OpenAIConfig}

#: Fields of Atropos's own configuration, by section.
_TRAINING = {
    "env": (
        "batch_size", "custom_thinking_prompt", "data_dir_to_save_evals", "data_path_to_save_groups",
        "ensure_scores_are_not_same", "eval_limit_ratio", "group_size", "include_messages", "inference_weight",
        "max_batches_offpolicy", "max_eval_workers", "max_num_workers", "max_num_workers_per_node",
        "max_reasoning_tokens", "min_batch_allocation", "min_items_sent_before_logging",
        "num_rollouts_per_group_for_logging", "num_rollouts_to_keep", "reasoning_effort", "rollout_server_url",
        "sent_groups", "short_groups", "steps_per_eval", "thinking_mode", "tokenizer_name", "total_steps", "use_wandb",
        "wandb_name", "worker_timeout",
    ),
    "openai": (
        "health_check", "n_kwarg_is_ignored", "num_max_requests_at_once", "num_requests_for_eval",
        "rolling_buffer_length", "server_type", "timeout", "token_protocol", "tokenizer_name", "tracing_enabled",
    ),
}  # fmt: skip
#: Keys of it. A file that serves both doors holds them.
TRAINING_KEYS = frozenset(
    {"slurm", "testing", *(f"{section}.{name}" for section, names in _TRAINING.items() for name in names)}
)


@dataclass(frozen=True)
class Schema:
    """Which keys the configuration of a door may hold."""

    #: By name, in the order of the reference.
    sections: Mapping[str, type[BaseModel]]
    #: Keys of the other door, which are let pass without a look at their values.
    foreign: frozenset[str] = frozenset()
    #: Sections of which there may be several.
    lists: frozenset[str] = frozenset()

    def fields(self, section: str) -> list[str]:
        """Return the names of a section's fields, in the order of the reference."""
        return list(self.sections[section].model_fields)

    def keys(self) -> list[str]:
        """Return every key, as `section.field`."""
        ours = (f"{section}.{name}" for section in self.sections for name in self.fields(section))
        return sorted({*ours, *self.foreign})


#: Of a run of tests.
TESTING = Schema(SECTIONS, TRAINING_KEYS)


_UNIONS = (Union, UnionType)


def types_of(annotation: Any) -> list[Any]:
    """Return the types that a field's annotation accepts, without what is only said about them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return types_of(get_args(annotation)[0])
    if origin in _UNIONS:
        return [kind for part in get_args(annotation) for kind in types_of(part)]
    return [annotation if origin is Literal else origin or annotation]


def must_be(section: type[BaseModel], name: str) -> str | None:
    """Return what a field accepts in a user's words, None when it does not say."""
    field = section.model_fields[name]
    parts = get_args(field.annotation) if get_origin(field.annotation) in _UNIONS else ()
    entries = [*(entry for part in parts for entry in getattr(part, "__metadata__", ())), *field.metadata]
    if texts := [entry.text for entry in entries if isinstance(entry, MustBe)]:
        return texts[-1]
    words = choices_of(field.annotation)
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else None


def choices_of(annotation: Any) -> list[str]:
    """Return the values that a field's annotation accepts, as texts; nothing when there are more than a few."""
    choices = [_choices(kind) for kind in types_of(annotation) if kind is not NoneType]
    return [word for some in choices for word in some] if all(choices) else []


def _choices(kind: Any) -> list[str]:
    """Return the values of a type, if there are few."""
    if kind is bool:
        return ["true", "false"]
    is_enum = isinstance(kind, type) and issubclass(kind, Enum)
    return [str(member.value) for member in kind] if is_enum else list(map(str, get_args(kind)))

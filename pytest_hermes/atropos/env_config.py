"""The configuration of an environment: the core's fields joined with Atropos's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from atroposlib.envs.base import BaseEnvConfig, EvalHandlingEnum
from atroposlib.envs.server_handling.server_baseline import APIServerConfig, ServerBaseline
from pydantic import BeforeValidator, ConfigDict, Field, SecretStr

from ..config.fields import Count, EnvConfig, MustBe, Name, OpenAIConfig, Schema
from ..config.settings import Config
from ..errors import UsageError
from ..models.keys import AGENT
from ..models.tokens.dialects import Protocols

ShortGroups = Literal["requeue", "drop", "pad_none"]


def _enum_by_name(value: object) -> object:
    # The core has an enum of the same members; Atropos compares with its own.
    return getattr(value, "value", value)


class HermesAgentEnvConfig(EnvConfig, BaseEnvConfig):  # type: ignore[misc,unused-ignore]
    """Fields of the section `env`. Subclass it for an environment's own."""

    # Atropos writes what its server tells into the configuration.
    model_config = ConfigDict(frozen=False, extra="forbid", allow_inf_nan=False)

    eval_handling: Annotated[EvalHandlingEnum, BeforeValidator(_enum_by_name)] = Field(
        EvalHandlingEnum.STOP_TRAIN, description=EnvConfig.model_fields["eval_handling"].description
    )
    tokenizer_name: Annotated[Name | None, MustBe("a name or a folder")] = Field(
        None, description="Hugging Face tokenizer, or its folder; if not set: the model's own tokenizer, if it has one."
    )
    worker_timeout: float = Field(
        -1, description="Time limit of a group in seconds while training; -1: no limit, since each rollout has limits."
    )
    group_size: Count = Field(4, description="Number of rollouts of one item; they are scored together.")
    short_groups: ShortGroups = Field(
        "requeue",
        description="What happens while training to a group with failed rollouts: requeue (its item is tried once "
        "more, then dropped), drop, or pad_none (the group is filled up with empty rows that are not trained on).",
    )
    sent_groups: Annotated[Name | None, MustBe("a file")] = Field(
        None,
        description="File in which serve records the groups it sends: after a run was killed, the next run with the "
        "same file sends none of them again; if not set: nothing is recorded.",
    )


class ServerConfig(APIServerConfig):  # type: ignore[misc,unused-ignore]
    """One server as Atropos configures it; the key is in no text that is made of it."""

    api_key: str | None = Field("", repr=False, exclude=True)
    token_protocol: Protocols = "auto"


class ServerFields(OpenAIConfig):
    """The section `openai`: the core's fields and those by which Atropos talks to a server."""

    server_type: Literal["openai", "vllm", "sglang"] = Field(
        "openai", description="Kind of the server: openai (chat completions), vllm or sglang."
    )
    token_protocol: Protocols = Field(
        "auto",
        description="Protocol for requests by token ids to a vllm or sglang server: vllm_generate (Atropos's own vLLM "
        "server), sglang, completions (vllm serve), or auto (detected).",
    )
    tokenizer_name: Name = Field(
        "none", description="Tokenizer of this server's model, if env.tokenizer_name is not set."
    )
    timeout: Count = Field(1200, description="Time limit of one request in seconds.")
    num_max_requests_at_once: Count = Field(512, description="Limit on requests in flight.")
    num_requests_for_eval: Count = Field(64, description="Limit on requests in flight for an evaluation.")
    rolling_buffer_length: Count = Field(1000, description="Number of recent requests that the server's metrics cover.")
    n_kwarg_is_ignored: bool = Field(False, description="Whether the server ignores `n` and returns one answer.")
    health_check: bool = Field(False, description="Has no effect: failed requests are retried automatically.")


#: Top-level keys of Atropos's own.
MANAGER_KEYS = frozenset({"slurm", "testing"})


def schema_of(env_config_cls: type[HermesAgentEnvConfig]) -> Schema:
    """Return the keys that configure an environment whose configuration is of this class."""
    return Schema({"env": env_config_cls, "openai": ServerFields}, MANAGER_KEYS, frozenset({"openai"}))


def one_server(config: Config) -> ServerConfig:
    """Return the server that a configuration names. Raises UsageError when it names no model."""
    fields = config.openai
    assert isinstance(fields, ServerFields)
    if fields.model_name is None:
        raise UsageError(
            f"no model: add --openai.model_name=NAME and {AGENT.how_to_configure}; "
            "--openai.model_name=oracle plays the reference solutions, nop does nothing"
        )
    values: dict[str, Any] = fields.model_dump(exclude={"api_key", "base_url"})
    return ServerConfig(**values, base_url=fields.base_url or "", api_key=_key(config) or "")


def _key(config: Config) -> str | None:
    """Return the configured key, unless a stronger source chose the base URL: the key is not for that server."""
    key, url = config.origin("openai.api_key"), config.origin("openai.base_url")
    if config.openai.api_key is None or url.layer > key.layer:
        return None
    return config.openai.api_key.get_secret_value() or None


def as_list(servers: ServerBaseline | list[APIServerConfig]) -> list[APIServerConfig]:
    """Return what `config_init()` gave as a list: Atropos takes a single one for four servers on this machine."""
    if isinstance(servers, list):
        return servers
    if isinstance(servers, APIServerConfig):
        return [servers]
    return [APIServerConfig(**servers.model_dump())]


def server_values(server: APIServerConfig) -> dict[str, object]:
    """Return the fields of the section `openai` that somebody set in `server`."""
    values: dict[str, object] = {
        name: getattr(server, name) for name in server.model_fields_set if name in ServerFields.model_fields
    }
    # What Atropos writes for "none".
    values = {name: value for name, value in values.items() if value not in ("", None)}
    if values.get("model_name") == "default":
        del values["model_name"]
    if "api_key" in values:
        values["api_key"] = SecretStr(str(values["api_key"]))
    return values

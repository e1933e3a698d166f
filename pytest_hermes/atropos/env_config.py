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
        None, description="Hugging Face tokenizer, or its folder; none given: that of the model, if there is one."
    )
    worker_timeout: float = Field(
        -1, description="Seconds for a group while training, -1 for no limit: rollouts have limits of their own."
    )
    group_size: Count = Field(4, description="Rollouts of one item, which are scored together.")
    short_groups: ShortGroups = Field(
        "requeue",
        description="What becomes of a group of which rollouts failed while training: requeue (its item is tried once "
        "more, then dropped), drop, or pad_none (filled up with rows that stand for no rollout and teach nothing).",
    )
    sent_groups: Annotated[Name | None, MustBe("a file")] = Field(
        None,
        description="File in which serve notes the groups it sends: a run that goes on with the file of one that was "
        "killed sends none of them again; none given: nothing is noted.",
    )


class ServerConfig(APIServerConfig):  # type: ignore[misc,unused-ignore]
    """One server as Atropos configures it; the key is in no text that is made of it."""

    api_key: str | None = Field("", repr=False, exclude=True)
    token_protocol: Protocols = "auto"


class ServerFields(OpenAIConfig):
    """The section `openai`: the core's fields and those by which Atropos talks to a server."""

    server_type: Literal["openai", "vllm", "sglang"] = Field(
        "openai", description="What kind of server answers: openai (chat completions), vllm or sglang."
    )
    token_protocol: Protocols = Field(
        "auto",
        description="How a vllm or sglang server is asked by token ids: vllm_generate (Atropos's own vLLM server), "
        "sglang, completions (vllm serve); auto finds out.",
    )
    tokenizer_name: Name = Field("none", description="Tokenizer of this server's model, where env names none.")
    timeout: Count = Field(1200, description="Seconds for one request.")
    num_max_requests_at_once: Count = Field(512, description="Requests in flight at most.")
    num_requests_for_eval: Count = Field(64, description="Requests in flight for an evaluation at most.")
    rolling_buffer_length: Count = Field(1000, description="Requests that the server's metrics are made of.")
    n_kwarg_is_ignored: bool = Field(False, description="Whether the server answers once, whatever `n` is.")
    health_check: bool = Field(False, description="Has no effect: a request that fails is made again by itself.")


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
    """Return the configured key, unless a stronger place chose the base URL: it would go to somebody it is not for."""
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

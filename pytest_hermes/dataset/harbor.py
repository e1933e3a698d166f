"""`task.toml`: what a task directory in the Harbor layout says about itself.

The format is Harbor's (https://www.harborframework.com/docs/tasks, schema 1.4 and what came before it). Keys that say
nothing about how a task runs here are left alone.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import Unsupported
from ..task import LeftProcesses, RewardFrom, parse_size
from .rows import DatasetError

_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Network = Literal["no-network", "public", "allowlist"]
_TEMPLATE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
#: Marks that say where a text comes from stand on the first lines of instructions, and are not meant for agents.
_CANARY = re.compile(r"\s*(<!--.*canary.*-->|#.*canary.*)?\s*", re.IGNORECASE)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Metadata(_Section):
    category: str | None = None
    difficulty: str | None = None
    tags: tuple[str, ...] = ()


class Phase(_Section):
    timeout_sec: _Seconds | None = None
    user: str | int | None = None
    network_mode: _Network | None = None
    env: dict[str, str] = {}


class Verifier(Phase):
    environment_mode: Literal["shared", "separate"] | None = None
    environment: dict[str, Any] | None = None
    #: These two are not Harbor's.
    processes: LeftProcesses | None = None
    reward: RewardFrom = "file"


class Environment(_Section):
    docker_image: str | None = None
    os: str = "linux"
    cpus: Annotated[float, Field(gt=0)] | None = None
    #: Bytes, from `memory_mb` or `memory`, and likewise.
    memory: int | None = None
    storage: int | None = None
    gpus: int = 0
    tpu: dict[str, Any] | None = None
    network_mode: _Network = "public"
    workdir: str | None = None
    env: dict[str, str] = {}
    mcp_servers: list[Any] = []
    healthcheck: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _older_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        values = {name: value for name, value in values.items() if value is not None}
        for name in ("memory", "storage"):
            if f"{name}_mb" in values:
                values[name] = f"{values[f'{name}_mb']}m"
        if "allow_internet" in values and "network_mode" not in values:
            values["network_mode"] = "public" if values["allow_internet"] else "no-network"
        return values

    @field_validator("memory", "storage", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        return parse_size(value)


class Artifact(_Section):
    source: str


class HarborTask(_Section):
    """A task directory's configuration."""

    metadata: Metadata = Metadata()
    agent: Phase = Phase()
    verifier: Verifier = Verifier()
    environment: Environment = Environment()
    solution: Phase = Phase()
    steps: list[Any] = []
    artifacts: tuple[str | Artifact, ...] = ()

    @property
    def artifact_paths(self) -> tuple[str, ...]:
        """Paths in the sandbox that hold what the agent is to make."""
        return tuple(artifact if isinstance(artifact, str) else artifact.source for artifact in self.artifacts)

    @property
    def wants_fresh_verifier(self) -> bool:
        return self.verifier.environment_mode == "separate"

    def check_supported(self, folder: Path) -> None:
        """Raise Unsupported, with the reason, for what no sandbox here can do."""
        environment = self.environment
        phases = [phase.network_mode for phase in (self.agent, self.verifier) if phase.network_mode]
        users = {phase.user for phase in (self.agent, self.verifier)} - {None, "root", 0, "0"}
        reasons = {
            "has several steps": bool(self.steps),
            "needs a compose file": any((folder / "environment").glob("*compose*.y*ml")),
            f"needs {environment.os}": environment.os.lower() != "linux",
            "needs a GPU": environment.gpus > 0,
            "needs a TPU": environment.tpu is not None,
            "needs MCP servers": bool(environment.mcp_servers),
            "needs a health check of its environment": environment.healthcheck is not None,
            "allows only some network hosts": "allowlist" in (environment.network_mode, *phases),
            "changes its network between phases": any(mode != environment.network_mode for mode in phases),
            f"runs commands as user {next(iter(users), '')}": bool(users),
            "has a separate image for the verifier": self.verifier.environment is not None,
        }
        for reason, applies in reasons.items():
            if applies:
                raise Unsupported(f"the task {reason}, which is not supported")


def read_task(folder: Path) -> HarborTask:
    """Return the configuration of a task directory. Raises DatasetError, naming file and key, when it does not fit."""
    path = folder / "task.toml"
    try:
        return HarborTask.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise DatasetError(f"{path}: {where}: {problem['msg']}, not {problem['input']!r:.80}") from error


def read_instruction(folder: Path) -> str:
    """Return what the agent is told. Raises DatasetError when there is nothing to tell."""
    path = folder / "instruction.md"
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    while lines and _CANARY.fullmatch(lines[0].rstrip("\n")):
        del lines[0]
    if not lines:
        raise DatasetError(f"{path} is empty")
    return "".join(lines)


def resolved(env: Mapping[str, str]) -> dict[str, str]:
    """Return variables with `${NAME}` and `${NAME:-default}` replaced from this process's own.

    Raises Unsupported when one of them is not set.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        found = os.environ.get(name) or default
        if found is None:
            raise Unsupported(f"the task needs the environment variable {name}, which is not set")
        return found

    return {name: _TEMPLATE.sub(value, text) for name, text in env.items()}

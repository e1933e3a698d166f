"""`task.toml`: what a task directory in the Harbor layout says about itself.

The format is Harbor's (https://www.harborframework.com/docs/tasks, schema 1.4 and what came before it). Keys that say
nothing about how a task runs here are left alone; those that it does not know are noted.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from ..core.checks import check_fields, one_of
from ..core.suggest import nearest
from ..errors import Unsupported
from ..task import LeftProcesses, RewardFrom
from . import harbor_kinds as kinds
from .directories import INSTRUCTION, TASK_FILE
from .harbor_keys import unknown_keys
from .rows import DatasetError

T = TypeVar("T")

_TEMPLATE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
#: Marks that say where a text comes from stand on the first lines of instructions, and are not meant for agents.
_CANARY = re.compile(r"\s*(<!--.*canary.*-->|#.*canary.*)?\s*", re.IGNORECASE)

#: How much alike the name of a file and `task.toml` are when one is meant to be the other, from 0 to 1.
_LIKENESS = 0.8


@dataclass(frozen=True, kw_only=True)
class Metadata:
    category: Annotated[str | None, kinds.optional(kinds.TEXT)] = None
    difficulty: Annotated[str | None, kinds.optional(kinds.TEXT)] = None
    tags: Annotated[tuple[str, ...], kinds.TAGS] = ()


@dataclass(frozen=True, kw_only=True)
class Phase:
    timeout_sec: Annotated[float | None, kinds.optional(kinds.NUMBER)] = None
    user: Annotated[str | None, kinds.optional(kinds.USER)] = None
    network_mode: Annotated[str | None, kinds.optional(kinds.NETWORK)] = None
    env: Annotated[Mapping[str, str], kinds.ENV] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Verifier(Phase):
    environment_mode: Annotated[str | None, kinds.optional(one_of("shared", "separate"))] = None
    environment: Annotated[Mapping[str, Any] | None, kinds.optional(kinds.TABLE)] = None
    #: Commands that run before the artifacts are collected.
    collect: Annotated[list[Any], kinds.LIST] = field(default_factory=list)
    #: These two are not Harbor's.
    processes: Annotated[LeftProcesses | None, kinds.optional(one_of(*get_args(LeftProcesses)))] = None
    reward: Annotated[RewardFrom, one_of(*get_args(RewardFrom))] = "file"


@dataclass(frozen=True, kw_only=True)
class Environment:
    docker_image: Annotated[str | None, kinds.optional(kinds.IMAGE)] = None
    os: Annotated[str, kinds.TEXT] = "linux"
    cpus: Annotated[float | None, kinds.optional(kinds.NUMBER)] = None
    #: Bytes, from `memory_mb` or `memory`, and likewise.
    memory: Annotated[int | None, kinds.optional(kinds.SIZE)] = None
    storage: Annotated[int | None, kinds.optional(kinds.SIZE)] = None
    gpus: Annotated[int, kinds.COUNT] = 0
    tpu: Annotated[Mapping[str, Any] | None, kinds.optional(kinds.TABLE)] = None
    network_mode: Annotated[str, kinds.NETWORK] = "public"
    workdir: Annotated[str | None, kinds.optional(kinds.WORKDIR)] = None
    env: Annotated[Mapping[str, str], kinds.ENV] = field(default_factory=dict)
    mcp_servers: Annotated[list[Any], kinds.LIST] = field(default_factory=list)
    healthcheck: Annotated[Mapping[str, Any] | None, kinds.optional(kinds.TABLE)] = None


@dataclass(frozen=True, kw_only=True)
class HarborTask:
    """A task directory's configuration."""

    metadata: Metadata = field(default_factory=Metadata)
    agent: Phase = field(default_factory=Phase)
    verifier: Verifier = field(default_factory=Verifier)
    environment: Environment = field(default_factory=Environment)
    solution: Phase = field(default_factory=Phase)
    steps: list[Any] = field(default_factory=list)
    #: Paths in the sandbox that hold what the agent is to make.
    artifacts: tuple[str, ...] = ()
    #: What people should know about the file, a line each.
    notes: tuple[str, ...] = ()

    @property
    def wants_fresh_verifier(self) -> bool:
        return self.verifier.environment_mode == "separate"

    def check_supported(self, folder: Path) -> None:
        """Raise Unsupported, with the reason, for what no sandbox here can do."""
        environment = self.environment
        phases = [phase.network_mode for phase in (self.agent, self.verifier) if phase.network_mode]
        users = {phase.user for phase in (self.agent, self.verifier)} - {None, "root", "0"}
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
            "needs commands before its artifacts are collected": bool(self.verifier.collect)
            and self.wants_fresh_verifier,
        }
        for reason, applies in reasons.items():
            if applies:
                raise Unsupported(f"the task {reason}, which is not supported")


def read_task(folder: Path) -> HarborTask:
    """Return the configuration of a task directory; without a `task.toml`, the defaults.

    Raises DatasetError, naming file and key, for a value that does not fit.
    """
    path = folder / TASK_FILE
    if not path.exists():
        return HarborTask(notes=(_no_task_file(folder),))
    try:
        # Editors on Windows begin a file with a mark of its encoding.
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    try:
        return parse_task(document)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error


def _no_task_file(folder: Path) -> str:
    similar = nearest(TASK_FILE, (entry.name for entry in folder.iterdir()), _LIKENESS)
    return f"there is no {TASK_FILE}, so the defaults apply" + (f" ({similar} is not read)" if similar else "")


def parse_task(document: Mapping[str, Any]) -> HarborTask:
    """Return what the content of a file says. Raises ValueError, naming the key, for a value that does not fit."""
    verifier = _section(Verifier, document, "verifier")
    if verifier.environment_mode == "separate" and verifier.processes == "keep":
        raise ValueError(
            'verifier.processes = "keep" contradicts environment_mode = "separate": '
            "what the agent left running does not run in another container"
        )
    return HarborTask(
        metadata=_section(Metadata, document, "metadata"),
        agent=_section(Phase, document, "agent"),
        verifier=verifier,
        environment=_section(Environment, {"environment": _with_new_names(document)}, "environment"),
        solution=_section(Phase, document, "solution"),
        steps=kinds.LIST.check(document.get("steps", []), "steps"),
        artifacts=kinds.ARTIFACTS.check(document.get("artifacts", []), "artifacts"),
        notes=tuple(unknown_keys(document)),
    )


def _section(cls: type[T], document: Mapping[str, Any], name: str) -> T:
    """Return a table as an instance of one of the classes above; keys that it does not know are left alone."""
    table = kinds.TABLE.check(document.get(name, {}), name)
    known = {each.name for each in fields(cls)}  # type: ignore[arg-type]
    section = cls(**{key: value for key, value in table.items() if key in known})
    check_fields(section, cls, f"{name}.")
    return section


def _with_new_names(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table `environment` without keys that have other names now."""
    table = dict(kinds.TABLE.check(document.get("environment", {}), "environment"))
    for name in ("memory", "storage"):
        if f"{name}_mb" in table:
            table[name] = kinds.MEGABYTES.check(table[f"{name}_mb"], f"environment.{name}_mb") << 20
    if "allow_internet" in table:
        allowed = kinds.TRUTH.check(table["allow_internet"], "environment.allow_internet")
        table.setdefault("network_mode", "public" if allowed else "no-network")
    return table


def read_instruction(folder: Path) -> str:
    """Return what the agent is told. Raises DatasetError when there is nothing to tell."""
    path = folder / INSTRUCTION
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
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

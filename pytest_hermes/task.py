"""A task: what is asked of an agent, what it needs, and how far it may go. Values only, no I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from .core import checks
from .core.checks import Kind, check_fields, instance_of, mapping
from .core.one_line import shown

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=,/-]*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_size(value: object, what: str = "a size") -> int:
    """Return `value` in bytes: a number, or a text such as `512m`, `2g`, `1.5 GiB` (powers of 1024).

    `what` names it in an error.

    Raises ValueError for anything else, and for less than one byte.
    """
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        size = None if match is None else float(match[1]) * _SIZE_UNITS[match[2].lower()]
    else:
        size = None if isinstance(value, bool) else checks.number(value)
    if size is None or not math.isfinite(size):
        raise ValueError(f"{what} {shown(value)} is not a size; write bytes or a text such as '512m' or '2g'")
    if size < 1:
        raise ValueError(f"{what} must be at least one byte, not {shown(value)}")
    return int(size)


_SIZE_KIND = Kind("a size", parse_size)
_ENV = mapping("a mapping of texts to texts", checks.VARIABLE, checks.TEXT)


@dataclass(frozen=True, kw_only=True)
class SandboxSpec:
    """What a task needs of its sandbox. None means: whatever the backend gives by default."""

    #: Container image. With a build context as well, that is built where the image cannot be had.
    image: str | None = None
    #: Folder with a Dockerfile from which the image is built.
    build_context: Path | None = None
    #: Build the context even if its image, or the one that is named, is there.
    force_build: bool = False
    #: CPU cores, may be a fraction.
    cpus: float | None = None
    #: Bytes, or a text such as `2g`.
    memory: int | str | None = None
    #: What may be written to the sandbox's own file system: bytes, or a text such as `10g`.
    storage: int | str | None = None
    #: Processes and threads at once.
    pids: int | None = None
    #: Environment variables of every command in the sandbox.
    env: Mapping[str, str] = field(default_factory=dict)
    #: Where commands start; relative paths count from the sandbox's home.
    workdir: str | None = None
    #: False cuts the sandbox off from every network.
    network: bool | None = None

    def __post_init__(self) -> None:
        check_fields(self, _SANDBOX, "SandboxSpec.")

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory is None else parse_size(self.memory)

    @property
    def storage_bytes(self) -> int | None:
        return None if self.storage is None else parse_size(self.storage)


_SANDBOX: Mapping[str, Kind[Any]] = {
    "image": checks.NAME.or_none,
    "build_context": checks.PATH.or_none,
    "force_build": checks.TRUTH,
    "cpus": checks.FINITE_AMOUNT.or_none,
    "memory": _SIZE_KIND.or_none,
    "storage": _SIZE_KIND.or_none,
    "pids": checks.COUNT.or_none,
    "env": _ENV,
    "workdir": checks.NAME.or_none,
    "network": checks.TRUTH.or_none,
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far an attempt may go. None leaves the decision to the benchmark, then to the defaults."""

    #: Model calls.
    turns: int | None = None
    #: Seconds for the agent, from the first model call to the last tool result.
    agent_seconds: float | None = None
    #: Seconds for the verifier.
    verifier_seconds: float | None = None
    #: Prompt and completion tokens of all model calls together.
    tokens: int | None = None
    #: Dollars for all model calls together; a float is taken by its digits.
    cost: Decimal | float | None = None

    def __post_init__(self) -> None:
        check_fields(self, _LIMITS, "Limits.")


_LIMITS: Mapping[str, Kind[Any]] = {
    "turns": checks.COUNT.or_none,
    "agent_seconds": checks.AMOUNT.or_none,
    "verifier_seconds": checks.AMOUNT.or_none,
    "tokens": checks.COUNT.or_none,
    "cost": checks.COST.or_none,
}


@dataclass(frozen=True)
class Solution:
    """A reference solution of several files: a folder on this machine, and the script in it that solves the task."""

    folder: Path
    script: str = "solve.sh"
    #: Environment variables for the script; `${NAME}` and `${NAME:-default}` in them are this process's own.
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, _SOLUTION, "Solution.")


_SOLUTION: Mapping[str, Kind[Any]] = {"folder": checks.PATH, "script": checks.NAME, "env": _ENV}


@dataclass(frozen=True)
class Task:
    """One task of a benchmark.

    `id` is stable: it names the task in node ids, records and baselines. It consists of letters, digits and
    `_ . + = , / -`, so that a node id can be pasted into a shell. Like the other classes here, it raises ValueError,
    naming the task and the field, for a value that does not fit.
    """

    id: str
    prompt: str
    category: str | None = None
    difficulty: str | None = None
    tags: tuple[str, ...] = ()
    sandbox: SandboxSpec = field(default_factory=SandboxSpec)
    limits: Limits = field(default_factory=Limits)
    #: The attempt passes when its reward is at least this.
    threshold: float = 1.0
    #: Text files that stand in the sandbox before the agent starts: path -> content.
    files: Mapping[str, str] = field(default_factory=dict)
    #: A shell script that solves the task, or a folder with one; what the `oracle` model plays.
    solution: str | Solution | None = None
    #: Whatever else `compute_reward` needs.
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id) or "::" in self.id:
            raise ValueError(
                f"task id {shown(self.id)} cannot be used: it must start with a letter, digit or '_' "
                "and go on with letters, digits and _ . + = , / -"
            )
        check_fields(self, _TASK, f"task {self.id!r}: ")


_TASK: Mapping[str, Kind[Any]] = {
    "prompt": checks.TEXT,
    "category": checks.TEXT.or_none,
    "difficulty": checks.TEXT.or_none,
    "tags": checks.TEXTS,
    "sandbox": instance_of("a SandboxSpec", SandboxSpec),
    "limits": instance_of("Limits", Limits),
    "threshold": checks.THRESHOLD,
    "files": mapping("a mapping of paths to texts", checks.NAME, checks.TEXT, key="path"),
    "solution": instance_of("a shell script as a text, a Solution", str, Solution).or_none,
    "metadata": instance_of("a mapping", Mapping),
}

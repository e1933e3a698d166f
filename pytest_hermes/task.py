"""A task: what is asked of an agent, what it needs, and how far it may go. Values only, no I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from .core import checks
from .core.checks import Kind, check_fields, instance_of, mapping, one_of
from .core.one_line import shown

#: What becomes of the processes that an agent left running when the verifier begins.
LeftProcesses = Literal["keep", "end"]
#: What gives the reward where the tests write no reward file: nothing, or their exit code.
RewardFrom = Literal["file", "exit_code"]

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=,/-]*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_size(value: object, what: str = "a size") -> int:
    """Return `value` in bytes: a number, or a string such as `512m`, `2g`, `1.5 GiB` (powers of 1024).

    `what` names it in an error.

    Raises ValueError for anything else, and for less than one byte.
    """
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        size = None if match is None else float(match[1]) * _SIZE_UNITS[match[2].lower()]
    else:
        size = None if isinstance(value, bool) else checks.number(value)
    if size is None or not math.isfinite(size):
        raise ValueError(f"{what} {shown(value)} is not a size; write bytes or a string such as '512m' or '2g'")
    if size < 1:
        raise ValueError(f"{what} must be at least one byte, not {shown(value)}")
    return int(size)


_BYTES = Kind("a size", parse_size)
_ENV = mapping("a mapping of strings to strings", checks.VARIABLE, checks.TEXT)
_FILES = mapping("a mapping of paths to strings", checks.NAME, checks.TEXT, key="path")


@dataclass(frozen=True, kw_only=True)
class SandboxSpec:
    """What a task needs of its sandbox. None means: whatever the backend gives by default."""

    #: Container image. With a build context as well, that is built where the image cannot be had.
    image: Annotated[str | None, checks.NAME.or_none] = None
    #: Folder with a Dockerfile from which the image is built.
    build_context: Annotated[Path | None, checks.PATH.or_none] = None
    #: Build the context even if its image, or the one that is named, is there.
    force_build: Annotated[bool, checks.TRUTH] = False
    #: CPU cores, may be a fraction.
    cpus: Annotated[float | None, checks.FINITE_AMOUNT.or_none] = None
    #: Bytes, or a string such as `2g`.
    memory: Annotated[int | str | None, _BYTES.or_none] = None
    #: What may be written to the sandbox's own file system: bytes, or a string such as `10g`.
    storage: Annotated[int | str | None, _BYTES.or_none] = None
    #: Processes and threads at once.
    pids: Annotated[int | None, checks.COUNT.or_none] = None
    #: Environment variables of every command in the sandbox.
    env: Annotated[Mapping[str, str], _ENV] = field(default_factory=dict)
    #: Where commands start; relative paths count from the sandbox's home.
    workdir: Annotated[str | None, checks.NAME.or_none] = None
    #: False cuts the sandbox off from every network.
    network: Annotated[bool | None, checks.TRUTH.or_none] = None

    def __post_init__(self) -> None:
        check_fields(self, SandboxSpec, "SandboxSpec.")

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory is None else parse_size(self.memory)

    @property
    def storage_bytes(self) -> int | None:
        return None if self.storage is None else parse_size(self.storage)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far an attempt may go. None leaves the decision to the benchmark, then to the defaults."""

    #: Model calls.
    turns: Annotated[int | None, checks.COUNT.or_none] = None
    #: Seconds for the agent, from the first model call to the last tool result.
    agent_seconds: Annotated[float | None, checks.AMOUNT.or_none] = None
    #: Seconds for the verifier.
    verifier_seconds: Annotated[float | None, checks.AMOUNT.or_none] = None
    #: Prompt and completion tokens of all model calls together.
    tokens: Annotated[int | None, checks.COUNT.or_none] = None
    #: Dollars for all model calls together; a float is taken by its digits.
    cost: Annotated[Decimal | float | None, checks.COST.or_none] = None

    def __post_init__(self) -> None:
        check_fields(self, Limits, "Limits.")


@dataclass(frozen=True)
class Solution:
    """A reference solution of several files: a folder on this machine, and the script in it that solves the task."""

    folder: Annotated[Path, checks.PATH]
    script: Annotated[str, checks.NAME] = "solve.sh"
    #: Environment variables for the script; `${NAME}` and `${NAME:-default}` in them are this process's own.
    env: Annotated[Mapping[str, str], _ENV] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, Solution, "Solution.")


@dataclass(frozen=True, kw_only=True)
class VerifierSpec:
    """What a task asks of its verifier."""

    #: Whether what the agent left running goes on while the tests run; None leaves it to the verifier's mode.
    processes: Annotated[LeftProcesses | None, one_of(*get_args(LeftProcesses)).or_none] = None
    #: `exit_code`: tests that leave no reward file give their verdict by their exit code.
    reward: Annotated[RewardFrom, one_of(*get_args(RewardFrom))] = "file"

    def __post_init__(self) -> None:
        check_fields(self, VerifierSpec, "VerifierSpec.")


_SOLUTION = instance_of("a shell script as a string, a Solution", str, Solution).or_none


@dataclass(frozen=True)
class Task:
    """One task of a benchmark.

    `id` is stable: it names the task in node ids, records and baselines. It consists of letters, digits and
    `_ . + = , / -`, so that a node id can be pasted into a shell. Like the other classes here, it raises ValueError,
    naming the task and the field, for a value that does not fit.
    """

    id: str
    prompt: Annotated[str, checks.TEXT]
    category: Annotated[str | None, checks.TEXT.or_none] = None
    difficulty: Annotated[str | None, checks.TEXT.or_none] = None
    tags: Annotated[tuple[str, ...], checks.TEXTS] = ()
    sandbox: Annotated[SandboxSpec, instance_of("a SandboxSpec", SandboxSpec)] = field(default_factory=SandboxSpec)
    limits: Annotated[Limits, instance_of("Limits", Limits)] = Limits()
    #: The attempt passes when its reward is at least this.
    threshold: Annotated[float, checks.THRESHOLD] = 1.0
    #: Text files that stand in the sandbox before the agent starts: path -> content.
    files: Annotated[Mapping[str, str], _FILES] = field(default_factory=dict)
    #: A shell script that solves the task, or a folder with one; what the `oracle` model plays.
    solution: Annotated[str | Solution | None, _SOLUTION] = None
    verifier: Annotated[VerifierSpec, instance_of("a VerifierSpec", VerifierSpec)] = field(default_factory=VerifierSpec)
    #: What people should know about how the task was read, a line each: the header of a run shows it.
    notes: Annotated[tuple[str, ...], checks.TEXTS] = ()
    #: Whatever else `compute_reward` needs.
    metadata: Annotated[Mapping[str, Any], instance_of("a mapping", Mapping)] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id) or "::" in self.id:
            raise ValueError(
                f"task id {shown(self.id)} cannot be used: it must start with a letter, digit or '_' "
                "and continue with letters, digits and _ . + = , / -"
            )
        check_fields(self, Task, f"task {self.id!r}: ")

"""What a task is made of besides its text, wherever that lies."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from pytest_hermes.dataset.rows import DatasetError
from pytest_hermes.task import SandboxSpec, Task
from pytest_hermes.verifier.tests_run import TaskTests

#: What runs a task's tests.
SCRIPT = "test.sh"
#: Where they write a report of the single ones.
_REPORT = b"/logs/verifier/ctrf.json"


class Material(ABC):
    """The environment and the tests of one task: small, picklable, and read when they are needed. All of it blocks."""

    #: Paths in the sandbox that hold what the agent is to make; none: its working directory.
    artifacts: tuple[str, ...] = ()
    wants_fresh_verifier: bool = False
    #: Whether tests that leave no reward file give their verdict by their exit code.
    exit_code_is_reward: bool = False

    @abstractmethod
    def sandbox(self, *, force_build: bool) -> SandboxSpec:
        """Return what the task's sandbox is made from, and make sure that its tests can be read.

        Raises DatasetError, and Unsupported.
        """

    def digest(self) -> str | None:
        """Return what changes when anything of the task does; None where nobody needs it."""
        return None

    @abstractmethod
    def tests(self) -> TaskTests:
        """Return the tests. Raises DatasetError, and Unsupported."""


@dataclass(frozen=True)
class Malformed(Material):
    """Stands for material that cannot be read: its users learn why."""

    problem: str

    def sandbox(self, *, force_build: bool) -> SandboxSpec:
        raise DatasetError(self.problem)

    def tests(self) -> TaskTests:
        raise DatasetError(self.problem)


def malformed(problem: str, name: object, otherwise: str, taken: Collection[str]) -> Task:
    """Return a task that ends in an error that says why: it must not vanish from the count.

    Its id is `name` where that can be one and is free, else `otherwise`, if need be with a number behind it.
    """
    metadata = {"material": Malformed(problem)}
    if isinstance(name, str) and name not in taken:
        with contextlib.suppress(ValueError):
            return Task(id=name, prompt=problem, metadata=metadata)
    number, free = 2, otherwise
    while free in taken:
        free = f"{otherwise}-{number}"
        number += 1
    return Task(id=free, prompt=problem, metadata=metadata)


def task_tests(
    script: bytes,
    write: Callable[[BinaryIO], None],
    env: Mapping[str, str] | None = None,
    *,
    exit_code_is_reward: bool = False,
) -> TaskTests:
    """Return the tests that `script` runs. `write` writes a tar of it and of what it needs."""
    return TaskTests(
        write=write,
        script=SCRIPT,
        interpreter=() if script.startswith(b"#!") else ("bash",),
        env=env or {},
        writes_report=_REPORT in script,
        exit_code_is_reward=exit_code_is_reward,
    )

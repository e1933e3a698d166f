"""TerminalBench 2: terminal tasks, each in a container of its own, scored by the tests it brings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import ClassVar

from pytest_hermes.benchmark import Benchmark, Item
from pytest_hermes.dataset.source import open_dataset
from pytest_hermes.errors import Unsupported, UsageError
from pytest_hermes.result import AgentResult
from pytest_hermes.task import LeftProcesses, SandboxSpec, Task
from pytest_hermes.tools.context import ToolContext
from pytest_hermes.verdict import Verdict, VerifierMode
from pytest_hermes.verifier.verify import check_artifacts, verify

from .folder_tasks import folder_tasks
from .material import Material
from .row_tasks import row_tasks

#: By what becomes of the processes that an agent left running.
_MODES: Mapping[LeftProcesses | None, VerifierMode | None] = {"keep": "same", "end": "strict", None: None}

_KVM = dict.fromkeys(("qemu-startup", "qemu-alpine-ssh"), "needs KVM")


class TerminalBench2(Benchmark):
    """89 terminal tasks of the real world, each in a container of its own.

    A subclass with other defaults in its own `default.yaml` is a benchmark of its own in the same format.
    """

    name = "terminalbench_2"
    default_config = "default.yaml"
    config_fields = frozenset({"dataset_name", "dataset_split", "dataset_revision", "verifier", "force_build"})
    #: Limits of tasks that set none of their own.
    agent_seconds = 1800
    verifier_seconds = 900
    verifier_times_itself = True
    #: Why tasks cannot run, by backend and task.
    cannot_run: ClassVar[Mapping[str, Mapping[str, str]]] = {"modal": _KVM}

    def __init__(self) -> None:
        self._tasks: list[Task] = []

    async def setup(self) -> None:
        """List the tasks of the dataset. What is large is read when a task starts."""
        config = self.config
        if config.dataset_name is None:
            raise UsageError(f"benchmark {self.name!r} needs a dataset: add --hermes-dataset=SOURCE")
        dataset = await asyncio.to_thread(
            open_dataset, config.dataset_name, split=config.dataset_split, revision=config.dataset_revision
        )
        self.revision = dataset.revision
        if dataset.folder is not None:
            self._tasks, self.notes = await asyncio.to_thread(folder_tasks, dataset.folder)
        else:
            assert dataset.rows is not None
            self._tasks = await asyncio.to_thread(row_tasks, dataset.rows, dataset.name)

    def tasks(self) -> Iterable[Task]:
        return self._tasks

    async def sandbox(self, item: Item) -> SandboxSpec:
        """Return the task's image, or its build context, unpacked. Raises Unsupported where it cannot run."""
        task, material = _parts(item)
        reason = self.cannot_run.get(self.config.terminal_backend, {}).get(task.id)
        if reason is not None:
            raise Unsupported(f"the task {reason}, which the sandbox {self.config.terminal_backend} does not have")
        return await asyncio.to_thread(material.sandbox, force_build=self.config.force_build)

    async def prepare(self, item: Item, ctx: ToolContext) -> None:
        """Find out before the agent works whether a fresh verifier will know what to copy."""
        _, material = _parts(item)
        if self._mode(item, ctx) == "fresh":
            check_artifacts(ctx.sandbox, material.artifacts)

    async def compute_reward(self, item: Item, result: AgentResult, ctx: ToolContext) -> Verdict:
        """Return the verdict of the task's own tests."""
        task, material = _parts(item)
        tests = await asyncio.to_thread(material.tests)
        timeout = ctx.verifier_seconds or self.verifier_seconds
        acted = any(message.get("tool_calls") for message in result.messages)
        return ctx.at_session(
            lambda session: verify(
                session,
                tests,
                timeout=timeout,
                mode=self._mode(item, ctx),
                artifacts=material.artifacts,
                agent_acted=acted,
                threshold=task.threshold,
            )
        )

    def verifier_mode(self, item: Item) -> VerifierMode | None:
        """Return what the task's `task.toml` asks for."""
        task, material = _parts(item)
        return "fresh" if material.wants_fresh_verifier else _MODES[task.verifier.processes]

    def verification_digest(self, item: Item) -> str | None:
        """Return a digest of all that the task is made of; None for one without a solution."""
        task, material = _parts(item)
        return material.digest() if task.solution is not None else None

    def _mode(self, item: Item, ctx: ToolContext) -> VerifierMode:
        return ctx.verifier_mode or self.verifier_mode(item) or "same"


def _parts(item: Item) -> tuple[Task, Material]:
    assert isinstance(item, Task)
    material = item.metadata["material"]
    assert isinstance(material, Material)
    return item, material

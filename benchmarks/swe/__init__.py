"""swe: write a program, which tests then check in the sandbox it was written in."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from pathlib import Path

from pytest_hermes.benchmark import Benchmark, Item
from pytest_hermes.dataset.source import open_dataset
from pytest_hermes.errors import InfrastructureError
from pytest_hermes.result import AgentResult
from pytest_hermes.task import Task
from pytest_hermes.tools.context import ToolContext

from .check import CHECK, NO_PYTHON, check_program
from .rows import read_tasks

#: Seconds that the tests of one task may take.
TEST_SECONDS = 60

SAMPLE = Path(__file__).parent / "sample.jsonl"


class Swe(Benchmark):
    """Programming tasks in Python, checked by tests: a small sample, or a dataset in the form of HumanEvalPack."""

    name = "swe"
    default_config = "default.yaml"
    config_fields = frozenset({"dataset_name", "dataset_split", "dataset_revision", "prompt_field"})
    max_agent_turns = 30
    agent_seconds = 900
    verifier_seconds = 120

    def __init__(self) -> None:
        self._tasks: list[Task] = []

    async def setup(self) -> None:
        """Read the tasks, of the dataset that is configured or of the sample that comes along."""
        config = self.config
        path, source = SAMPLE, "the sample"
        if config.dataset_name is not None:
            dataset = await asyncio.to_thread(
                open_dataset,
                config.dataset_name,
                split=config.dataset_split,
                revision=config.dataset_revision,
                subset="python",
            )
            self.revision, source = dataset.revision, dataset.name
            path = dataset.rows or path
        self._tasks = await asyncio.to_thread(read_tasks, path, source, config.prompt_field)

    def tasks(self) -> Iterable[Task]:
        return self._tasks

    async def compute_reward(self, item: Item, result: AgentResult, ctx: ToolContext) -> float:
        """Return 1.0 when all tests pass, else 0.0. Raises InfrastructureError where there is no Python to run them."""
        assert isinstance(item, Task)
        # What proves that the tests ran to their end, and no exit before it.
        proof = secrets.token_hex(16)
        program = f".hermes-check-{secrets.token_hex(4)}.py"
        written = ctx.write_file(program, check_program(item.metadata["tests"], item.metadata["entry_point"], proof))
        if written.get("error"):
            raise InfrastructureError(f"cannot write the tests: {written['error']}", kind="verifier")
        ran = ctx.terminal(CHECK.format(program=program), timeout=TEST_SECONDS)
        if ran["exit_code"] == NO_PYTHON:
            raise InfrastructureError("the sandbox has no python3 to run the tests with", kind="verifier")
        return 1.0 if ran["exit_code"] == 0 and proof in ran["output"].splitlines()[-1:] else 0.0

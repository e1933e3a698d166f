"""terminal_test: small tasks that prove a whole stack works: model, loop, tools, sandbox, verifier, reports."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from pytest_hermes.benchmark import Benchmark, Item
from pytest_hermes.result import AgentResult
from pytest_hermes.task import Task
from pytest_hermes.tools.context import ToolContext

from .checks import CHECKS

TASKS = Path(__file__).parent / "tasks.toml"


class TerminalTest(Benchmark):
    """Small terminal and file tasks that need no data, no image and, with the oracle, no key."""

    name = "terminal_test"
    default_model = "oracle"
    max_agent_turns = 15
    agent_seconds = 300
    verifier_seconds = 60

    def tasks(self) -> Iterator[Task]:
        for entry in tomllib.loads(TASKS.read_text(encoding="utf-8"))["tasks"]:
            checks = entry.pop("checks")
            yield Task(**entry, metadata={"checks": checks})

    async def compute_reward(self, item: Item, result: AgentResult, ctx: ToolContext) -> float:
        """Return 1.0 when all checks of the task hold, else 0.0."""
        assert isinstance(item, Task)
        return 1.0 if all(CHECKS[name](ctx, *arguments) for name, *arguments in item.metadata["checks"]) else 0.0

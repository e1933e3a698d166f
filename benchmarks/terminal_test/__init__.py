"""terminal_test: small tasks that prove a whole stack works: model, loop, tools, sandbox, verifier, reports."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_hermes.benchmark import Benchmark, Item
from pytest_hermes.result import AgentResult
from pytest_hermes.task import Task
from pytest_hermes.tools.context import ToolContext

from .tasks import CASES


class TerminalTest(Benchmark):
    """Small terminal and file tasks that need no data, no image and, with the oracle, no key."""

    name = "terminal_test"
    default_model = "oracle"
    max_agent_turns = 15
    agent_seconds = 300
    verifier_seconds = 60

    def tasks(self) -> Iterable[Task]:
        return [case.task for case in CASES]

    async def compute_reward(self, item: Item, result: AgentResult, ctx: ToolContext) -> float:
        assert isinstance(item, Task)
        case = next(case for case in CASES if case.task.id == item.id)
        return 1.0 if all(check(ctx) for check in case.checks) else 0.0

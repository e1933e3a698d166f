"""A benchmark of your own: tasks, and what the result is worth.

pytest --hermes-bench=examples/greetings.py:Greetings --hermes-model=oracle
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_hermes import AgentResult, Benchmark, Task, ToolContext


class Greetings(Benchmark):
    """Files that greet somebody by name."""

    name = "greetings"

    def tasks(self) -> Iterator[Task]:
        for who in ("Ada", "Grace"):
            yield Task(
                id=f"greet-{who.lower()}",
                prompt=f"Write 'Hello, {who}!' into the file greeting.txt.",
                solution=f"echo 'Hello, {who}!' > greeting.txt",
                category="files",
                metadata={"who": who},
            )

    async def compute_reward(self, item: Any, result: AgentResult, ctx: ToolContext) -> float:
        greeting = ctx.read_file("greeting.txt")["content"] or ""
        return 1.0 if greeting.strip() == f"Hello, {item.metadata['who']}!" else 0.0

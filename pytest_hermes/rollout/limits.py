"""How far an attempt may go, from the task, the benchmark and the user."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ..benchmark import Benchmark
from ..task import Task


@dataclass(frozen=True)
class AttemptLimits:
    #: Model calls.
    turns: int
    #: Seconds for the agent.
    agent_seconds: float
    #: Seconds for the verifier.
    verifier_seconds: float
    #: Prompt and completion tokens of all model calls; None: as many as the other limits let.
    tokens: int | None
    #: Dollars for all model calls.
    cost: Decimal | None


def attempt_limits(benchmark: Benchmark, task: Task, task_timeout: float | None) -> AttemptLimits:
    """Return the task's own limits, else the benchmark's; `task_timeout` (seconds) caps the agent's time."""
    agent_seconds = task.limits.agent_seconds or benchmark.agent_seconds
    if task_timeout is not None:
        agent_seconds = min(agent_seconds, task_timeout)
    cost = task.limits.cost or benchmark.agent_cost
    return AttemptLimits(
        turns=task.limits.turns or benchmark.max_agent_turns,
        agent_seconds=agent_seconds,
        verifier_seconds=task.limits.verifier_seconds or benchmark.verifier_seconds,
        tokens=task.limits.tokens or benchmark.agent_tokens,
        cost=None if cost is None else Decimal(str(cost)),
    )

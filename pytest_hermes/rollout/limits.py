"""How far an attempt may go, from the task, the benchmark and the user.

A task knows best what it needs: its own limits win over the configuration's, tighter or looser. What is called a cap
(`--hermes-task-timeout`, and `terminal_lifetime` where somebody set it) makes any of them tighter and none looser.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ..benchmark import Benchmark
from ..config.fields import EnvConfig
from ..task import Task


@dataclass(frozen=True)
class AttemptLimits:
    #: Model calls.
    turns: int
    #: Seconds for the agent; None: as many as the other limits let.
    agent_seconds: float | None = None
    #: Seconds for the verifier; None where there is none.
    verifier_seconds: float | None = None
    #: Prompt and completion tokens of all model calls; None: as many as the other limits let.
    tokens: int | None = None
    #: Dollars for all model calls.
    cost: Decimal | None = None


def attempt_limits(benchmark: Benchmark, config: EnvConfig, task: Task, task_timeout: float | None) -> AttemptLimits:
    """Return the task's own limits, else the configuration's or the benchmark's; `task_timeout` is in seconds."""
    cost = task.limits.cost or benchmark.agent_cost
    return AttemptLimits(
        turns=task.limits.turns or config.max_agent_turns,
        agent_seconds=min(task.limits.agent_seconds or benchmark.agent_seconds, *caps(config, task_timeout)),
        verifier_seconds=task.limits.verifier_seconds or benchmark.verifier_seconds,
        tokens=task.limits.tokens or benchmark.agent_tokens,
        cost=None if cost is None else Decimal(str(cost)),
    )


def caps(config: EnvConfig, task_timeout: float | None) -> list[float]:
    """Return the caps on an agent's time in seconds, at least one of them.

    The default of `terminal_lifetime` is none: it must not cut short a task that asks for more.
    """
    lifetime = config.terminal_lifetime if "terminal_lifetime" in config.model_fields_set else float("inf")
    return [lifetime, *([] if task_timeout is None else [task_timeout])]

"""What one attempt is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..benchmark import Benchmark, Item
from ..config.fields import EnvConfig
from ..models.protocol import ModelSource
from ..task import Task
from ..tools.tool import Tool

if TYPE_CHECKING:
    from ..judging import Judging
    from ..result import AgentResult
    from ..tools.session import SandboxSession
    from .agent import Agent
    from .boundary import Ending


@dataclass(frozen=True)
class PlannedTask:
    """One task of a benchmark, with the item it was made from."""

    benchmark: Benchmark
    item: Item
    task: Task


@dataclass(frozen=True)
class AttemptPlan:
    """What one attempt is made of."""

    planned: PlannedTask
    #: From 1.
    number: int
    source: ModelSource
    config: EnvConfig
    #: What the agent may call.
    tools: tuple[Tool, ...] = ()
    #: Keep the sandbox open after verification until it is released.
    hold: bool = False
    #: Why the attempt is skipped instead; None: it runs.
    skip: str | None = None
    #: Who works on the task; None: the built-in agent.
    agent: Agent | None = None
    #: Says how the attempt ended; None: by the benchmark's reward.
    ending: Callable[[AgentResult], Awaitable[Ending]] | None = None
    #: The sandbox of somebody else, who closes it, and how he is judged; None: the attempt's own.
    session: SandboxSession | None = None
    judging: Judging | None = None
    #: What names the task; empty: its id. This and what follows is taken down when the attempt is planned: code that
    #: runs later may change the objects.
    task: str = ""
    benchmark: str = field(init=False)
    revision: str | None = field(init=False)

    def __post_init__(self) -> None:
        for name, value in (
            ("benchmark", self.planned.benchmark.name),
            ("task", self.task or self.planned.task.id),
            ("revision", self.planned.benchmark.revision),
        ):
            object.__setattr__(self, name, value)

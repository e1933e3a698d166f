"""An environment as a benchmark, as its rollouts see it."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from ..benchmark import Benchmark
from ..core.awaiting import awaited
from ..task import SandboxSpec, Task

if TYPE_CHECKING:
    from ..result import AgentResult
    from ..tools.context import ToolContext
    from ..verdict import Verdict
    from .base_env import HermesAgentBaseEnv

_ID_KEYS = ("id", "task_id", "task_name", "name")
#: What an environment takes over from its benchmark.
_TAKEN_OVER = (
    "revision",
    "reward_range",
    "agent_seconds",
    "verifier_seconds",
    "verifier_times_itself",
    "agent_tokens",
    "agent_cost",
)


class EnvBenchmark(Benchmark):
    """What the rollouts of one environment are attempts of. Items are whatever `get_next_item` returns."""

    name = "environment"

    def __init__(self, env: HermesAgentBaseEnv) -> None:
        self._env = env
        self.__dict__["name"] = name_of(env.name, type(env)).lstrip("-.0123456789") or type(env).__name__
        self.__dict__["reward_range"] = env.reward_range
        self.configure(env.config)
        if env.benchmark is not None:
            env.benchmark.configure(env.config)

    def follow(self, benchmark: Benchmark) -> None:
        """Take over what holds for the environment's benchmark, once that is set up."""
        for name in _TAKEN_OVER:
            self.__dict__[name] = getattr(benchmark, name)

    def of(self, env: HermesAgentBaseEnv) -> EnvBenchmark:
        """Return the same of a copy of the environment, which an evaluation during training works on."""
        if env is self._env:
            return self
        other = copy.copy(self)
        other._env = env
        return other

    def to_task(self, item: Any) -> Task:
        if isinstance(item, Task):
            return item
        if self._env.benchmark is not None:
            return self._env.benchmark.to_task(item)
        prompt = self.format_prompt(item)
        return Task(id=_id_of(item, prompt), prompt=prompt)

    def format_prompt(self, item: Any) -> str:
        return self._env.format_prompt(item)

    async def sandbox(self, item: Any) -> SandboxSpec:
        if self._env.benchmark is not None:
            return await self._env.benchmark.sandbox(item)
        return await super().sandbox(item)

    async def prepare(self, item: Any, ctx: ToolContext) -> None:
        if self._env.benchmark is not None:
            await self._env.benchmark.prepare(item, ctx)
        else:
            await super().prepare(item, ctx)

    async def compute_reward(self, item: Any, result: AgentResult, ctx: ToolContext) -> float | Verdict:
        # It may be written without `async`.
        return cast("float | Verdict", await awaited(self._env.compute_reward(item, result, ctx)))


def name_of(name: str | None, cls: type) -> str:
    """Return the name of an environment, or of its class, in the form of a benchmark's."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name or cls.__name__)


def _id_of(item: Any, prompt: str) -> str:
    """Return a name that stays the same for the same item: its own, or else one made of the prompt."""
    if isinstance(item, Mapping):
        own = next((str(item[key]) for key in _ID_KEYS if item.get(key)), "")
        if cleaned := re.sub(r"[^A-Za-z0-9_.+=,/-]+", "-", own).lstrip(".+=,/-").replace("::", "-"):
            return cleaned
    return f"item-{hashlib.sha1(prompt.encode(errors='replace')).hexdigest()[:8]}"

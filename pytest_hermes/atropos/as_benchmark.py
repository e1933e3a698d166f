"""An environment as a benchmark: how its rollouts see it, and how the pytest door runs it."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from ..benchmark import Benchmark
from ..config.fields import EnvConfig
from ..errors import UsageError
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
#: Fields of an environment's configuration that are defaults of its rollouts in the pytest door as well.
_CONFIGURES = (
    "enabled_toolsets", "disabled_toolsets", "max_agent_turns", "agent_temperature", "system_prompt",
    "terminal_backend", "terminal_image", "terminal_network", "terminal_options", "terminal_timeout",
    "terminal_lifetime", "max_token_length", "extra_body",
)  # fmt: skip
#: Items in a row that there were already, after which an environment is taken to give no others.
_REPEATS = 32


class EnvBenchmark(Benchmark):
    """What the rollouts of one environment are attempts of. Items are whatever `get_next_item` returns."""

    name = "environment"

    def __init__(self, env: HermesAgentBaseEnv) -> None:
        self._env = env
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", env.name or type(env).__name__).lstrip("-.0123456789")
        self.__dict__["name"] = name or type(env).__name__
        self.__dict__["reward_range"] = env.reward_range
        self.config = env.config
        if env.benchmark is not None:
            env.benchmark.config = env.config

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
        reward: Any = self._env.compute_reward(item, result, ctx)
        if inspect.isawaitable(reward):
            reward = await reward
        return cast("float | Verdict", reward)


def _id_of(item: Any, prompt: str) -> str:
    """Return a name that stays the same for the same item: its own, or else one made of the prompt."""
    if isinstance(item, Mapping):
        own = next((str(item[key]) for key in _ID_KEYS if item.get(key)), "")
        if cleaned := re.sub(r"[^A-Za-z0-9_.+=,/-]+", "-", own).lstrip(".+=,/-").replace("::", "-"):
            return cleaned
    return f"item-{hashlib.sha1(prompt.encode(errors='replace')).hexdigest()[:8]}"


def adapt(cls: type) -> type[Benchmark] | None:
    """Return a benchmark made of an environment's class; None for a class that is no environment.

    Called by the pytest door, which finds it by entry point, for a class that is no benchmark. Only who has imported
    the base of environments himself can have such a class; nobody else has to wait for it.
    """
    if f"{__package__}.base_env" not in sys.modules:
        return None
    from .base_env import HermesAgentBaseEnv

    if not issubclass(cls, HermesAgentBaseEnv):
        return None
    if issubclass(cls, _with_benchmark()):
        return type(cls.load_benchmark())
    return type(f"{cls.__name__}Benchmark", (_Adapted,), {"env_class": cls, "name": _name(cls), "__doc__": cls.__doc__})


def _with_benchmark() -> type:
    from .benchmark_env import BenchmarkEnv

    return BenchmarkEnv


def _name(cls: Any) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", cls.name or cls.__name__)


class _Adapted(EnvBenchmark):
    """An environment in the pytest door. Its items are the first ones that `get_next_item` gives."""

    env_class: type[HermesAgentBaseEnv]
    endless = True

    def __init__(self) -> None:
        config, servers = self.env_class.config_init()
        # Nothing is logged but by pytest.
        config.use_wandb = False
        super().__init__(self.env_class(config, servers))
        self._items: list[Any] = []
        self._setting_up: asyncio.Future[None] | None = None
        model = getattr(getattr(self._env.server.servers[0], "config", None), "model_name", "default")
        own = {
            f"env.{field}": value
            for field in _CONFIGURES
            if (value := getattr(config, field)) != EnvConfig.model_fields[field].default
            or field in config.model_fields_set
        }
        self.own_settings = own if model == "default" else {**own, "openai.model_name": model}

    async def compute_reward(self, item: Any, result: AgentResult, ctx: ToolContext) -> float | Verdict:
        # The workers of --hermes-procs get the items without a setup of theirs.
        await self._ready()
        return await super().compute_reward(item, result, ctx)

    async def _ready(self) -> None:
        if self._setting_up is None:
            self._setting_up = asyncio.ensure_future(self._env.setup())
        await asyncio.shield(self._setting_up)

    async def setup(self) -> None:
        await self._ready()
        assert self.limit is not None
        seen: set[str] = set()
        repeats = 0
        # Whether it begins again or draws at random, the same may come several times.
        while len(self._items) < self.limit and repeats < _REPEATS + len(seen):
            item = await self._env.get_next_item()
            if item is None:
                break
            task_id = self.to_task(item).id
            repeats = repeats + 1 if task_id in seen else 0
            if not repeats:
                seen.add(task_id)
                self._items.append(item)

    def tasks(self) -> Iterable[Any]:
        if not self._items:
            raise UsageError(f"environment {self.name!r} has no items: get_next_item() gave none")
        return self._items

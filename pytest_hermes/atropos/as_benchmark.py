"""An environment as the pytest door runs it: a benchmark of its first items."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..benchmark import Benchmark
from ..config.fields import EnvConfig
from ..errors import UsageError
from .env_benchmark import EnvBenchmark, name_of

if TYPE_CHECKING:
    from ..result import AgentResult
    from ..tools.context import ToolContext
    from ..verdict import Verdict
    from .base_env import HermesAgentBaseEnv

#: Fields of an environment's configuration that are defaults of its rollouts in the pytest door as well.
_CONFIGURES = (
    "enabled_toolsets", "disabled_toolsets", "max_agent_turns", "agent_temperature", "system_prompt",
    "terminal_backend", "terminal_image", "terminal_network", "terminal_options", "terminal_timeout",
    "terminal_lifetime", "max_token_length", "extra_body",
)  # fmt: skip
#: Items in a row that there were already, after which an environment is taken to give no others.
_REPEATS = 32


def adapt(cls: type) -> type[Benchmark] | None:
    """Return a benchmark made of an environment's class; None for a class that is no environment.

    Called by the pytest door, which finds it by entry point, for a class that is no benchmark. Only who has imported
    the base of environments himself can have such a class; nobody else has to wait for it.
    """
    if f"{__package__}.base_env" not in sys.modules:
        return None
    from .base_env import HermesAgentBaseEnv
    from .benchmark_env import BenchmarkEnv

    if not issubclass(cls, HermesAgentBaseEnv):
        return None
    if issubclass(cls, BenchmarkEnv):
        return type(cls.load_benchmark())
    name = name_of(cls.name, cls)
    return type(f"{cls.__name__}Benchmark", (_Adapted,), {"env_class": cls, "name": name, "__doc__": cls.__doc__})


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
        # Whether it begins again or samples at random, the same may come several times.
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
            raise UsageError(f"environment {self.name!r} has no items: get_next_item() returned none")
        return self._items

"""A benchmark as an environment: its tasks are what is trained on and evaluated."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from atroposlib.envs.server_handling.server_baseline import APIServerConfig, ServerBaseline

from ..benchmark import Benchmark
from ..config.settings import resolve
from ..config.unused import why_not_obeyed
from ..result import AgentResult
from ..rollout.plan import PlannedTask
from ..runs.benchmark_settings import benchmark_settings
from ..runs.catalog import load_benchmark
from ..runs.tasks import enumerate_tasks, select, set_up
from ..tools.context import ToolContext
from ..verdict import Verdict
from .base_env import HermesAgentBaseEnv
from .env_config import HermesAgentEnvConfig, ServerConfig, schema_of
from .evaluation import evaluate_items, rollout_sample

log = logging.getLogger("pytest_hermes.atropos")


class BenchmarkEnv(HermesAgentBaseEnv):
    """The environment of an installed benchmark. `BenchmarkEnv.of("tblite")` is that of one by its name."""

    #: The benchmark, as `--hermes-bench` names it.
    benchmark_name: ClassVar[str] = ""

    def __init__(self, config: HermesAgentEnvConfig, server_configs: Any, *arguments: Any, **named: Any) -> None:
        self.benchmark: Benchmark = self.load_benchmark()
        self.tasks: list[PlannedTask] = []
        self._cycle: Iterator[PlannedTask] = iter(())
        super().__init__(config, server_configs, *arguments, **named)

    @classmethod
    def of(cls, spec: str) -> type[BenchmarkEnv]:
        """Return the environment of a benchmark. Raises UsageError when there is none of that name."""
        benchmark = load_benchmark(spec, Path.cwd())
        return type("BenchmarkEnv", (cls,), {"benchmark_name": spec, "name": benchmark.name})

    @classmethod
    def load_benchmark(cls) -> Benchmark:
        """Return a new benchmark. Raises UsageError when it is not installed."""
        return load_benchmark(cls.benchmark_name, Path.cwd())

    @classmethod
    def config_init(cls) -> tuple[HermesAgentEnvConfig, ServerBaseline | list[APIServerConfig]]:
        config = resolve(
            benchmark_settings(cls.load_benchmark(), schema_of(cls.env_config_cls)), schema_of(cls.env_config_cls)
        )
        assert isinstance(config.env, HermesAgentEnvConfig)
        model = config.openai.model_name
        return config.env, [ServerConfig(model_name=model) if model else ServerConfig()]

    async def setup(self) -> None:
        for key, why in why_not_obeyed(self.benchmark.name, self.benchmark.config_fields).items():
            if key.removeprefix("env.") in self.config.model_fields_set:
                log.warning("%s has no effect: %s", key, why)
        await set_up(self.benchmark)
        self.as_benchmark.follow(self.benchmark)
        self.tasks = select(
            await enumerate_tasks(self.benchmark), self.config.task_filter or (), self.config.skip_tasks or ()
        )
        self._cycle = itertools.cycle(self.tasks)

    async def get_next_item(self) -> Any:
        """Return the items in order, again and again."""
        return next(self._cycle).item

    def format_prompt(self, item: Any) -> str:
        return self.benchmark.format_prompt(item)

    async def compute_reward(self, item: Any, result: AgentResult, ctx: ToolContext) -> float | Verdict:
        return await self.benchmark.compute_reward(item, result, ctx)

    async def rollout_and_score_eval(self, eval_item: Any) -> dict[str, Any]:
        """Return the sample of one item: its rollout, scored."""
        return await rollout_sample(self, eval_item)

    async def evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Run every task once, and write metrics.json, samples.jsonl and results.jsonl."""
        await evaluate_items(self, [task.item for task in self.tasks])


class EvalOnlyEnv(BenchmarkEnv):
    """A benchmark that is measured and not trained on."""

    modes = ("evaluate",)

    @classmethod
    def config_init(cls) -> tuple[HermesAgentEnvConfig, ServerBaseline | list[APIServerConfig]]:
        config, servers = super().config_init()
        # One evaluation and nothing else.
        config.steps_per_eval = config.total_steps = config.group_size = 1
        return config, servers

    async def collect_trajectories(self, item: Any) -> tuple[Any, list[Any]]:
        return None, []


class TerminalTestEnv(BenchmarkEnv):
    """Small terminal and file tasks, to see that a whole stack works."""

    name = "terminal_test"
    benchmark_name = "terminal_test"


class HermesSweEnv(BenchmarkEnv):
    """Programming tasks that are verified by tests in the agent's sandbox."""

    name = "swe"
    benchmark_name = "swe"


class TerminalBench2EvalEnv(EvalOnlyEnv):
    """Terminal-Bench 2, evaluated."""

    name = "terminalbench_2"
    benchmark_name = "terminalbench_2"


class TBLiteEvalEnv(EvalOnlyEnv):
    """OpenThoughts TBLite, evaluated."""

    name = "tblite"
    benchmark_name = "tblite"


#: Environments with a class of their own, by the name of their benchmark.
NAMED: dict[str, type[BenchmarkEnv]] = {cls.benchmark_name: cls for cls in (TerminalTestEnv, HermesSweEnv)}

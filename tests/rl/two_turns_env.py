"""The task of two tool turns as an environment: real tools in a local sandbox, verified in the sandbox."""

from __future__ import annotations

import random
from typing import Any

from pytest_hermes.atropos import HermesAgentBaseEnv, HermesAgentEnvConfig
from pytest_hermes.atropos.env_config import ServerConfig
from pytest_hermes.result import AgentResult
from pytest_hermes.task import SandboxSpec, Task
from pytest_hermes.tools.context import ToolContext
from tests.rl.two_turns import commands, puzzles, score


class TwoTurnsConfig(HermesAgentEnvConfig):
    seed: int = 0


class TwoTurnsEnv(HermesAgentBaseEnv):
    name = "two-turns"
    env_config_cls = TwoTurnsConfig

    @classmethod
    def config_init(cls) -> tuple[TwoTurnsConfig, list[ServerConfig]]:
        config = TwoTurnsConfig.model_validate(
            {
                "enabled_toolsets": ["terminal"],
                "max_agent_turns": 2,
                "max_token_length": 20,
                "tool_call_parser": "llama4_pythonic",
                # Groups of equal scores teach nothing, but the trainer's curve should count them.
                "ensure_scores_are_not_same": False,
                "steps_per_eval": 0,
                "use_wandb": False,
            }
        )
        return config, [ServerConfig(model_name="tiny", server_type="vllm")]

    async def setup(self) -> None:
        self.puzzles = enumerate(puzzles(random.Random(self.config.seed)), 1)

    async def get_next_item(self) -> Task:
        number, puzzle = next(self.puzzles)
        return Task(
            id=f"puzzle-{number}",
            prompt=puzzle.prompt,
            sandbox=SandboxSpec(env=puzzle.values),
            metadata={"puzzle": puzzle},
        )

    def format_prompt(self, item: Task) -> str:
        return item.prompt

    async def compute_reward(self, item: Task, result: AgentResult, ctx: ToolContext) -> float:
        return score(item.metadata["puzzle"], commands(result.messages), lambda: str(ctx.terminal("cat out")["output"]))

    async def evaluate(self, *args: Any, **kwargs: Any) -> None:
        pass


if __name__ == "__main__":
    TwoTurnsEnv.cli()

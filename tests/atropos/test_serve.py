"""Training over the real run-api: what a trainer gets, and what ends a run."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.services.bench import Bench
from tests.services.model_server import ModelServer, completion
from tests.services.run_api import RunApi, Trainer

#: The guide's checklist, with a reward that is half right, a metric buffer, and an evaluation that fails.
ENV = """
import os
from typing import List
from pydantic import Field
from atroposlib.envs.server_handling.server_manager import APIServerConfig
from pytest_hermes.atropos import HermesAgentBaseEnv, HermesAgentEnvConfig
from pytest_hermes import AgentResult, ToolContext


class MyEnvConfig(HermesAgentEnvConfig):
    greetings: List[str] = Field(default=["hello"], description="What to write")
    offset: int = 0


class MyEnv(HermesAgentBaseEnv):
    env_config_cls = MyEnvConfig

    @classmethod
    def config_init(cls):
        env_config = MyEnvConfig(
            enabled_toolsets=["terminal", "file"], max_agent_turns=4, group_size=2, steps_per_eval=2,
            max_num_workers=2, terminal_backend="local",
        )
        return env_config, [APIServerConfig(
            base_url=os.environ["MODEL_URL"], model_name="m", server_type="openai", api_key="sk-very-secret-key-123456",
        )]

    async def setup(self):
        self.iter = 0
        self._reward_buffer = []

    async def get_next_item(self):
        self.iter += 1
        return {"id": f"greet-{self.iter}", "word": self.config.greetings[0]}

    def format_prompt(self, item):
        return f"Write {item['word']} to out.txt."

    async def compute_reward(self, item, result: AgentResult, ctx: ToolContext):
        reward = 1.0 if ctx.terminal("grep -q hello out.txt")["exit_code"] == 0 else 0.0
        if item["id"] == "held-out":
            reward = 0.25
        self._reward_buffer.append(reward)
        return reward

    async def evaluate(self, *args, **kwargs):
        rollout = await self.rollout({"id": "held-out", "word": "nothing"})
        assert rollout.record.reward == 0.25 and self._reward_buffer[-1] == 0.25
        self._reward_buffer.append(99.0)
        raise LookupError("the held-out set is gone")

    async def wandb_log(self, wandb_metrics=None):
        wandb_metrics = wandb_metrics or {}
        print("REWARDS", sorted(set(self._reward_buffer)), flush=True)
        self._reward_buffer.clear()
        await super().wandb_log(wandb_metrics)


if __name__ == "__main__":
    MyEnv.cli()
"""


@pytest.fixture
def env(bench: Bench, model_server: ModelServer, tokenizer_folder: Path) -> Bench:
    bench.file("my_env.py", ENV)
    bench.env(HF_HUB_OFFLINE="1", MODEL_URL=model_server.url, TOKENIZER=str(tokenizer_folder))
    return bench


def half_right() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A model of which every other agent writes the file."""
    agents = itertools.count()
    lock = threading.Lock()

    def script(body: dict[str, Any]) -> dict[str, Any]:
        if any(message["role"] == "assistant" for message in body["messages"]):
            return completion("All done. ")
        with lock:
            word = "hello" if next(agents) % 2 else "nothing"
        return completion(None, ("terminal", {"command": f"echo {word} > out.txt"}))

    return script


def serve(env: Bench, run_api: RunApi, tokenizer: Path, *more: str) -> tuple[int, str]:
    return env.python(
        "my_env.py", "serve", "--env.rollout_server_url", run_api.url, "--env.tokenizer_name", str(tokenizer), *more
    )  # fmt: skip


def test_a_trainer_gets_four_batches(
    env: Bench, run_api: RunApi, trainer: Callable[..., Trainer], model_server: ModelServer, tokenizer_folder: Path
) -> None:
    model_server.script = half_right()
    trained = trainer(batches=4)
    code, output = serve(
        env, run_api, tokenizer_folder, "--env.total_steps", "3", "--env.data_path_to_save_groups", "sent.jsonl"
    )
    assert code == 0, output
    trained.wait()
    groups = [group for batch in trained.batches for group in batch]
    for group in groups:
        assert sorted(group["scores"]) == [0.0, 1.0]
        assert group["generation_params"]["token_source"] == "retokenised"
        for tokens, masks, messages in zip(group["tokens"], group["masks"], group["messages"], strict=True):
            assert len(tokens) == len(masks)
            assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    log = run_api.log.read_text()
    assert " 422 " not in log
    assert "POST /disconnect-env" in log
    # Failed evaluations are told, and left nothing among the training's rewards.
    assert "the evaluation at step" in output
    assert "LookupError: the held-out set is gone" in output
    assert "REWARDS" in output
    assert "REWARDS [0.0, 1.0]" in output
    assert "99.0" not in output
    assert "0.25" not in output
    # Nobody was asked for anything but rollouts, and the key went to the model alone.
    assert {request.headers["authorization"] for request in model_server.requests} == {
        "Bearer sk-very-secret-key-123456"
    }
    assert all(request.body["messages"][0]["content"].startswith("Write ") for request in model_server.requests)
    assert "very-secret" not in output + log + (env.path / "sent.jsonl").read_text()

"""A benchmark that is only measured, by the reference's pattern for those."""

import asyncio
import json

from atroposlib.envs.base import EvalHandlingEnum
from atroposlib.envs.server_handling.server_manager import APIServerConfig

from pytest_hermes.atropos import HermesAgentBaseEnv, HermesAgentEnvConfig, cleanup_all_environments


class MyBenchEnv(HermesAgentBaseEnv):
    name = "my-bench"
    modes = ("evaluate",)

    @classmethod
    def config_init(cls):
        config = HermesAgentEnvConfig(
            enabled_toolsets=["terminal"], eval_handling=EvalHandlingEnum.STOP_TRAIN, steps_per_eval=1, total_steps=1
        )
        return config, APIServerConfig(
            base_url="http://127.0.0.1:9/v1", model_name="m", server_type="openai", api_key="sk-for-this-host-alone"
        )

    async def setup(self):
        self.items = [{"id": f"say-{n}", "prompt": f"Say {n}."} for n in range(4)]
        self.streaming = open("streamed.jsonl", "w", encoding="utf-8")  # noqa: ASYNC230, SIM115

    async def get_next_item(self):
        return None

    def format_prompt(self, item):
        return item["prompt"]

    async def compute_reward(self, item, result, ctx):
        if item["id"] == "say-3":
            raise OSError("no verifier for this one")
        return 1.0 if result.messages[-1]["content"] in item["prompt"] else 0.0

    async def collect_trajectories(self, item):
        return None, []

    async def score(self, rollout_group_data):
        return None

    async def rollout_and_score_eval(self, eval_item):
        rollout = await self.rollout(eval_item)
        sample = {"task": rollout.record.task, "reward": rollout.record.reward}
        self.streaming.write(json.dumps(sample) + "\n")
        self.streaming.flush()
        return sample

    async def evaluate(self, *args, **kwargs):
        try:
            samples = await asyncio.gather(*(self.rollout_and_score_eval(item) for item in self.items))
        finally:
            self.streaming.close()
            cleanup_all_environments()
        rewards = [sample["reward"] for sample in samples if sample["reward"] is not None]
        await self.evaluate_log(metrics={"eval/mean_reward": sum(rewards) / len(rewards)}, samples=samples)


if __name__ == "__main__":
    MyBenchEnv.cli()

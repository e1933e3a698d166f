"""The guide's environment, method by method as it shows them: only the imports are others, and its `...` filled in."""

import os
import random

from atroposlib.envs.server_handling.server_manager import APIServerConfig
from pydantic import Field

from pytest_hermes import AgentResult, ToolContext
from pytest_hermes.atropos import HermesAgentBaseEnv, HermesAgentEnvConfig

BUILTIN_SAMPLES = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(40)]


class MyEnvConfig(HermesAgentEnvConfig):
    eval_size: int = Field(default=3, description="Items of an evaluation")
    sources: list[str] = Field(default_factory=list, description="Where to look")
    seeds: list[int] = Field(default_factory=lambda: [0], description="Seeds")
    penalty: float = Field(default=0.0, description="What a wrong answer costs")


class MyEnv(HermesAgentBaseEnv):
    name = "my-env"
    env_config_cls = MyEnvConfig
    default_toolsets = ("terminal", "file")

    @classmethod
    def config_init(cls):
        return (
            MyEnvConfig(
                enabled_toolsets=["terminal"], system_prompt="Answer.", max_agent_turns=3, total_steps=2, group_size=1
            ),
            [
                APIServerConfig(
                    base_url="https://openrouter.ai/api/v1",
                    model_name="anthropic/claude-sonnet-4.5",
                    server_type="openai",
                    api_key=os.getenv("OPENROUTER_API_KEY", ""),
                    health_check=False,
                )
            ],
        )

    async def setup(self) -> None:
        """Called once at startup. Load datasets, initialize state."""
        # Try HuggingFace first, fallback to built-in samples
        try:
            from datasets import load_dataset

            ds = load_dataset("your/dataset", split="test")
            self._items = list(ds)
        except Exception:
            self._items = list(BUILTIN_SAMPLES)
        # Always split into train/eval
        random.shuffle(self._items)
        eval_size = max(20, int(len(self._items) * 0.1))
        self._eval_items = self._items[:eval_size]
        self._items = self._items[eval_size:]
        self._index = 0
        self._reward_buffer = []
        print(f"CONFIG {self.config.sources} {self.config.seeds} {self.config.penalty} {self.config.max_agent_turns}")

    async def get_next_item(self) -> dict:
        """Return next item, cycling through dataset."""
        item = self._items[self._index % len(self._items)]
        self._index += 1
        return item

    def format_prompt(self, item: dict) -> str:
        """Convert a dataset item into the user-facing prompt."""
        return f"Research this question: {item['question']}"

    async def compute_reward(self, item, result: AgentResult, ctx: ToolContext) -> float:
        # Extract final response (last assistant message with content)
        final_response = ""
        tools_used = []
        for msg in reversed(result.messages):
            if msg.get("role") == "assistant" and msg.get("content") and not final_response:
                final_response = msg["content"]
            if msg.get("role") == "assistant" and msg.get("tool_calls"):
                for tc in msg["tool_calls"]:
                    fn = tc.get("function", {}) if isinstance(tc, dict) else {}
                    name = fn.get("name", "")
                    if name:
                        tools_used.append(name)
        # Score using LLM judge, heuristic, or ToolContext verification
        correctness = await self._llm_judge(item, final_response)
        assert tools_used == ["terminal"], tools_used
        assert ctx.terminal("cat seen.txt")["output"] == "42\n"
        self._reward_buffer.append(correctness)
        return correctness

    async def _llm_judge(self, item, answer):
        completion = await self.server.chat_completion(
            messages=[{"role": "user", "content": f"Score this: {item['question']} {answer}"}], n=1, temperature=0.0
        )
        return float(completion.choices[0].message.content)

    async def evaluate(self, *args, **kwargs) -> None:
        import time
        import uuid

        from pytest_hermes import HermesAgentLoop, ToolContext

        start_time = time.time()
        tools, valid_names = self._resolve_tools_for_group()
        samples = []
        for item in self._eval_items[: self.config.eval_size]:
            task_id = str(uuid.uuid4())
            messages = []
            if self.config.system_prompt:
                messages.append({"role": "system", "content": self.config.system_prompt})
            messages.append({"role": "user", "content": self.format_prompt(item)})
            agent = HermesAgentLoop(
                server=self.server,
                tool_schemas=tools,
                valid_tool_names=valid_names,
                max_turns=self.config.max_agent_turns,
                task_id=task_id,
                temperature=0.0,  # Deterministic for eval
                max_tokens=self.config.max_token_length,
                extra_body=self.config.extra_body,
            )
            result = await agent.run(messages)
            ctx = ToolContext(task_id)
            try:
                reward = await self.compute_reward(item, result, ctx)
            finally:
                ctx.cleanup()
            samples.append({"prompt": item["question"], "response": result.messages[-1]["content"], "reward": reward})
        eval_metrics = {"eval/mean_reward": sum(sample["reward"] for sample in samples) / len(samples)}
        await self.evaluate_log(metrics=eval_metrics, samples=samples, start_time=start_time, end_time=time.time())

    async def wandb_log(self, wandb_metrics=None):
        if wandb_metrics is None:
            wandb_metrics = {}
        if self._reward_buffer:
            n = len(self._reward_buffer)
            wandb_metrics["train/mean_reward"] = sum(self._reward_buffer) / n
            self._reward_buffer.clear()
        await super().wandb_log(wandb_metrics)  # MUST call super


if __name__ == "__main__":
    MyEnv.cli()

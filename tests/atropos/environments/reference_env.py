"""The training environment of the reference's "Creating Environments": only the import lines are others."""

from atroposlib.envs.server_handling.server_manager import APIServerConfig

from pytest_hermes.atropos import HermesAgentBaseEnv, HermesAgentEnvConfig


class MyEnvConfig(HermesAgentEnvConfig):
    my_custom_field: str = "default_value"


class MyEnv(HermesAgentBaseEnv):
    name = "my-env"
    env_config_cls = MyEnvConfig

    @classmethod
    def config_init(cls):
        env_config = MyEnvConfig(
            enabled_toolsets=["terminal", "file"],
            terminal_backend="modal",
            max_agent_turns=30,
        )
        server_configs = [
            APIServerConfig(
                base_url="https://openrouter.ai/api/v1",
                model_name="anthropic/claude-sonnet-4.6",
                server_type="openai",
            )
        ]
        return env_config, server_configs

    async def setup(self):
        from datasets import load_dataset

        self.dataset = list(load_dataset("my-dataset", split="train"))
        self.iter = 0

    async def get_next_item(self):
        item = self.dataset[self.iter % len(self.dataset)]
        self.iter += 1
        return item

    def format_prompt(self, item):
        return item["instruction"]

    async def compute_reward(self, item, result, ctx):
        # ctx gives full tool access to the rollout's sandbox
        test = ctx.terminal("pytest -v")
        return 1.0 if test["exit_code"] == 0 else 0.0

    async def evaluate(self, *args, **kwargs):
        # Periodic evaluation during training
        pass


if __name__ == "__main__":
    MyEnv.cli()

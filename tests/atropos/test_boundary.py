"""What an environment's own code does to a training: rewards beyond 0 to 1, and code that blocks the event loop."""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.services.bench import Bench
from tests.services.model_server import ModelServer
from tests.services.waiting import wait_for

ENV = """
import time
from pytest_hermes.atropos import HermesAgentBaseEnv, HermesAgentEnvConfig

class Env(HermesAgentBaseEnv):
    name = "env"
    RANGE

    async def setup(self):
        self.given = 0

    async def get_next_item(self):
        self.given += 1
        return {"id": f"i{self.given}", "prompt": "Go."}

    def format_prompt(self, item):
        return item["prompt"]

    async def compute_reward(self, item, result, ctx):
        BODY

if __name__ == "__main__":
    Env.cli()
"""


@pytest.fixture
def environment(bench: Bench, atropos: None, model_server: ModelServer) -> Bench:
    bench.env(HF_HUB_OFFLINE="1", HF_HOME=str(bench.path / "hf"))
    return bench


def process(model_server: ModelServer) -> list[str]:
    return [
        "env.py", "process", "--env.data_path_to_save_groups", "out.jsonl", "--env.total_steps", "2",
        "--env.group_size", "2", "--env.use_wandb", "false",
        "--openai.base_url", model_server.url, "--openai.model_name", "m",
    ]  # fmt: skip


def test_a_reward_beyond_an_undeclared_range_is_sent_and_told_once(
    environment: Bench, model_server: ModelServer
) -> None:
    environment.file("env.py", ENV.replace("BODY", "return 3.0").replace("RANGE", ""))
    code, output = environment.python(*process(model_server))
    assert code == 0, output
    lines = [json.loads(line) for line in (environment.path / "out.jsonl").read_text().splitlines()]
    assert [line["reward"] for line in lines] == [3.0] * 4
    assert output.count("is not from 0 to 1; such rewards are sent unchanged") == 1


def test_what_else_goes_wrong_costs_its_rollout(environment: Bench, model_server: ModelServer) -> None:
    body = "if item['id'] == 'i1': return 3.0\n        raise SystemExit(7)"
    environment.file("env.py", ENV.replace("BODY", body).replace("RANGE", "reward_range = (-1, 2)"))
    code, output = environment.python(*process(model_server))
    assert code == 1
    assert "compute_reward returned 3, which is not from -1 to 2" in output
    assert "compute_reward raised SystemExit: 7" in output


def test_ctrl_c_ends_code_that_blocks(environment: Bench, model_server: ModelServer) -> None:
    body = "open('blocked', 'w').close()\n        time.sleep(600)"
    environment.file("env.py", ENV.replace("BODY", body).replace("RANGE", ""))
    started = environment.start_python(*process(model_server))
    assert wait_for((environment.path / "blocked").exists, 60)
    time.sleep(1.5)
    started.send_signal(signal.SIGINT)
    output, _ = started.communicate(timeout=60)
    assert started.returncode == 128 + signal.SIGINT, output
    assert "blocks the event loop at env.py:" in output
    assert "Traceback" not in output


def test_a_signal_ends_a_process_whose_loop_is_in_a_long_call(environment: Bench, model_server: ModelServer) -> None:
    body = (
        "open('blocked', 'w').close()\n        import hashlib; hashlib.pbkdf2_hmac('sha256', b'p', b's', 400_000_000)"
    )
    environment.file("env.py", ENV.replace("BODY", body).replace("RANGE", ""))
    started = environment.start_python(*process(model_server))
    assert wait_for((environment.path / "blocked").exists, 60)
    time.sleep(1.5)
    started.send_signal(signal.SIGTERM)
    output, _ = started.communicate(timeout=60)
    assert started.returncode == 128 + signal.SIGTERM, output
    assert "SIGTERM: the run ended while compute_reward of task 'i" in output

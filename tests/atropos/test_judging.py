"""In `hermes-env` a heuristic scores where the judge does not, and everything that is written down says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.services.bench import Bench
from tests.services.model_server import ModelServer, Reply, completion

HERE = Path(__file__).parent / "environments"

pytestmark = pytest.mark.usefixtures("atropos")


def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
    """Answer as the agent, and as a judge who has no score for task 0 and breaks at task 1."""
    asked = str(body["messages"])
    if "You grade an answer" not in asked:
        return completion("The answer is 42.")
    if "Task 0." in asked:
        return completion("Not bad.")
    return Reply(400, '{"error": {"message": "no"}}') if "Task 1." in asked else completion('{"score": 1}')


def hermes_env(*arguments: str) -> int:
    from pytest_hermes.atropos.main import main

    return main(arguments)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_heuristic_rewards_are_told_from_the_judge_s(
    bench: Bench, model_server: ModelServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.path)
    bench.file("judged.py", (HERE / "judged_benchmark.py").read_text())
    model_server.script = script
    asked = ("--openai.base_url", model_server.url, "--openai.model_name", "m")
    assert hermes_env("judged.py:Judged", "evaluate", *asked, "--env.data_dir_to_save_evals", "evals") == 0
    output = capsys.readouterr().err
    assert (
        "scored by the heuristic (0.75): the judge's second answer cannot be used either: not a JSON object" in output
    )
    assert "scored by the heuristic (0.75): the judge did not answer: " in output
    assert "3/3 rollouts, mean reward 0.833, 2 by the heuristic" in output
    metrics = json.loads(Path("evals/metrics.json").read_text())["results"]["all"]
    assert (metrics["eval/scored_by_judge"], metrics["eval/scored_by_heuristic"]) == (1, 2)
    assert metrics["eval/errors"] == 0
    expected = {"t0": ("heuristic", 0.75), "t1": ("heuristic", 0.75), "t2": ("judge", 1.0)}
    for file in ("samples.jsonl", "results.jsonl"):
        found = {line["task"]: (line["reward_source"], line["reward"]) for line in lines(Path("evals") / file)}
        assert found == expected
    used = {record["task"]: record["judge_usage"]["prompt_tokens"] for record in lines(Path("evals/results.jsonl"))}
    assert used == {"t0": 200, "t1": 0, "t2": 100}

    made = ("--env.data_path_to_save_groups", "out.jsonl", "--env.group_size", "2", "--env.use_wandb", "false")
    assert hermes_env("judged.py:Judged", "process", *asked, *made) == 0
    found = {line["task"]: (line["metadata"]["reward_source"], line["reward"]) for line in lines(Path("out.jsonl"))}
    assert found == expected
    assert "3/3 groups, 6 trajectories, mean reward 0.833, 4 rewards by the heuristic" in capsys.readouterr().err


OWN = """
from pytest_hermes.atropos import HermesAgentBaseEnv
from pytest_hermes.atropos.env_config import HermesAgentEnvConfig, ServerConfig
from pytest_hermes.rewards import llm_judge

class Own(HermesAgentBaseEnv):
    name = "own"

    @classmethod
    def config_init(cls):
        config = HermesAgentEnvConfig(use_wandb=False, enabled_toolsets=["terminal"])
        return config, [ServerConfig(base_url="URL", model_name="m")]

    async def setup(self):
        pass

    async def get_next_item(self):
        return {"id": "t0", "prompt": "Task 0."}

    def format_prompt(self, item):
        return item["prompt"]

    async def compute_reward(self, item, result, ctx):
        judged = await llm_judge(self.server, question="Task 0.", answer="It is 42.", reference="It is 42.")
        return judged.score

    async def evaluate(self, *args, **kwargs):
        record = (await self.rollout(await self.get_next_item())).record
        assert (record.reward, record.reward_source) == (1.0, "heuristic")
        judged = await llm_judge(self.server, question="Task 0.", answer="It is 42.", reference="It is 42.")
        await self.evaluate_log({"eval/score": judged.score, "eval/heuristic": judged.source == "heuristic"})
"""


def test_the_fallback_is_the_door_s(
    bench: Bench, model_server: ModelServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same environment: a heuristic in `hermes-env`, outside of a rollout as well, and an error under pytest."""
    monkeypatch.chdir(bench.path)
    bench.file("own.py", OWN.replace("URL", model_server.url))
    model_server.script = script
    assert hermes_env("own.py:Own", "evaluate", "--env.data_dir_to_save_evals", "evals") == 0, capsys.readouterr().err
    metrics = json.loads(Path("evals/metrics.json").read_text())["results"]["all"]
    assert metrics == {"eval/score": 1.0, "eval/heuristic": True}
    address = f"--hermes-base-url={model_server.url}"
    result = bench.run("--hermes-bench=own.py:Own", "--hermes-limit=1", "--hermes-model=m", address)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["verifier error: the judge's second answer cannot be used either: not a JSON object*"])

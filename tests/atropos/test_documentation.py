"""What the pages on training show (docs/rl*.md) runs as it is written."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from pytest_hermes.models.tokens.trace import TokenTrace
from pytest_hermes.models.tokens.trace_validation import problems
from tests.services.bench import Bench
from tests.services.chat_families import FAMILIES
from tests.services.token_server import TokenServer

pytestmark = pytest.mark.usefixtures("atropos")

DOCS = Path(__file__).parents[2] / "docs"
TEXT = "\n".join((DOCS / name).read_text("utf-8") for name in ("rl.md", "rl-reference.md", "rl-proof.md"))
BLOCKS: list[str] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
#: Commands, of which some go over two lines.
COMMANDS = re.findall(r"^    ((?:hermes-env|python my_env\.py) (?:.*\\\n)*.*)", TEXT, re.MULTILINE)


def block(part: str) -> str:
    (found,) = [text for text in BLOCKS if part in text]
    return found


def command(part: str) -> list[str]:
    """Return the arguments of the command that runs `my_env.py` with `part` in it."""
    (found,) = [line for line in COMMANDS if line.startswith("python my_env.py") and part in line]
    return shlex.split(found)[1:]


def test_its_environment_trains_on_sampled_tokens(bench: Bench, tmp_path: Path) -> None:
    """The environment that is written there, with the flags of phase 2."""
    from transformers import AutoTokenizer

    tokenizer = FAMILIES["qwen"].make(tmp_path / "qwen")
    server = TokenServer(AutoTokenizer.from_pretrained(str(tokenizer)), "completions")
    called = '<tool_call>\n{"name":  "terminal", "arguments": {"command": "echo hello > out.txt"}}\n</tool_call>'
    server.script = lambda prompt: f"{'Done.' if '</tool_response>' in prompt else called}<|im_end|>"
    bench.file("my_env.py", block("class MyEnv("))
    bench.env(HF_HUB_OFFLINE="1", WANDB_MODE="disabled")
    served = (
        "--env.tool_call_parser", "qwen", "--env.tokenizer_name", str(tokenizer),
        "--openai.server_type", "vllm", "--openai.base_url", server.url,
    )  # fmt: skip
    try:
        code, output = bench.python(
            *command("--env.seeds"), "--env.total_steps", "1", "--env.group_size", "2",
            "--env.data_path_to_save_groups", "out.jsonl", *served,
        )  # fmt: skip
        assert code == 0, output
        code, output = bench.python(*command("my_env.py evaluate"), "--env.data_dir_to_save_evals", "evals", *served)
        assert code == 0, output
    finally:
        server.close()
    metrics = json.loads((bench.path / "evals" / "metrics.json").read_text())
    assert metrics["results"]["all"] == {"eval/mean_reward": 1.0}
    lines = [json.loads(line) for line in (bench.path / "out.jsonl").read_text().splitlines()]
    assert [line["reward"] for line in lines] == [1.0, 1.0]
    assert [problems(TokenTrace.from_json(line["trace"]), line["reward"]) for line in lines] == [[], []]


def test_its_environment_runs_without_a_model(bench: Bench) -> None:
    bench.file("my_env.py", block("class MyEnv("))
    bench.env(WANDB_MODE="disabled")
    code, output = bench.python(*command("--openai.model_name nop"))
    assert code == 0, output
    lines = (bench.path / "data" / "my-env.jsonl").read_text().splitlines()
    assert [json.loads(line)["reward"] for line in lines] == [0.0] * 8


def test_its_commands_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pytest_hermes.atropos import command_line
    from pytest_hermes.atropos.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_env.py").write_text(block("class MyEnv("))
    taken = []

    def take(given: Any) -> int:
        taken.append(given.environment().config)
        return 0

    monkeypatch.setattr(command_line, "_run_given", take)
    commands = [shlex.split(line.replace("\\\n", "")) for line in COMMANDS if line.startswith("hermes-env")]
    assert len(commands) >= 5
    for _, *arguments in commands:
        assert main(arguments) == 0, arguments
    assert {config.tool_call_parser for config in taken} == {"hermes", "qwen"}


def test_its_evaluation_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pytest_hermes.atropos import HermesAgentEnvConfig
    from pytest_hermes.atropos.env_config import ServerConfig
    from pytest_hermes.atropos.modes import run_mode

    monkeypatch.chdir(tmp_path)
    written: dict[str, Any] = {}
    exec(block("class MyBenchEnv("), written)

    base: Any = written["MyBenchEnv"]

    class Env(base):  # type: ignore[misc]
        name = "written"

        async def setup(self) -> None:
            self.items = [{"id": str(n), "prompt": "Go."} for n in range(2)]

        def format_prompt(self, item: Any) -> str:
            return str(item["prompt"])

        async def compute_reward(self, item: Any, result: Any, ctx: Any) -> float:
            return float(item["id"])

    config = HermesAgentEnvConfig.model_validate({"data_dir_to_save_evals": "evals", "use_wandb": False})
    env = Env(config, [ServerConfig(model_name="nop")])
    asyncio.run(run_mode(env, "evaluate"))
    metrics = json.loads((tmp_path / "evals" / "metrics.json").read_text())
    assert metrics["results"]["all"] == {"eval/mean_reward": 0.5}

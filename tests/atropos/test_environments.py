"""Environments as both documents show them, started as their users start them."""

from __future__ import annotations

import json
import signal
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from tests.services.bench import Bench, processes_with
from tests.services.model_server import ModelServer, Reply, completion

HERE = Path(__file__).parent / "environments"

KEY = "sk-or-a-key-that-nobody-may-see"


@pytest.fixture
def user(bench: Bench, atropos: None, model_server: ModelServer) -> Bench:
    """A folder with the documents' environments, and a model that answers them and judges."""
    for name in ("reference_env", "guide_env"):
        bench.file(f"{name}.py", (HERE / f"{name}.py").read_text())
    bench.env(HF_HUB_OFFLINE="1", HF_HOME=str(bench.path / "hf"))

    def script(body: dict[str, Any]) -> dict[str, Any]:
        if body["messages"][0]["content"].startswith("Score this"):
            return completion("0.75")
        if any(message["role"] == "assistant" for message in body["messages"]):
            return completion("It is 42.")
        return completion(None, ("terminal", {"command": "echo 42 | tee seen.txt"}))

    model_server.script = script
    return bench


def said_nowhere(secret: str, user: Bench, printed: str) -> None:
    assert secret not in printed
    for path in user.path.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def hermes_env(*arguments: str) -> int:
    from pytest_hermes.atropos.main import main

    return main(arguments)


def test_the_references_environment_makes_data(user: Bench, model_server: ModelServer) -> None:
    user.file(
        "my-dataset/train.jsonl", '{"instruction": "Make pytest pass."}\n{"instruction": "Make it pass again."}\n'
    )
    user.env(WANDB_MODE="offline")
    code, printed = user.python(
        "reference_env.py", "process", "--env.data_path_to_save_groups", "output.jsonl", "--env.total_steps", "2",
        "--env.group_size", "2", "--env.terminal_backend", "local",
        "--openai.base_url", model_server.url, "--openai.model_name", "m",
    )  # fmt: skip
    assert code == 0, printed
    made = lines(user.path / "output.jsonl")
    assert len(made) == 4
    assert {line["messages"][0]["content"] for line in made} == {"Make pytest pass.", "Make it pass again."}
    assert {line["reward"] for line in made} == {0.0}  # there are no tests
    assert {line["token_source"] for line in made} == {"placeholder"}
    assert {line["metadata"]["stop_reason"] for line in made} == {"finished"}
    assert "no tokens; placeholders are sent instead" in printed
    assert len({line["group"] for line in made}) == 2
    assert list((user.path / "wandb").glob("offline-run-*/*.wandb"))


def test_the_guides_environment_in_process_and_evaluate(
    user: Bench, model_server: ModelServer, tokenizer_folder: Path
) -> None:
    user.file(
        "run.yaml",
        f"env:\n  max_agent_turns: 7\n  penalty: -0.5\n  sources: [a, b]\nopenai:\n  base_url: {model_server.url}\n",
    )
    user.env(OPENROUTER_API_KEY=KEY)
    code, printed = user.python(
        "guide_env.py", "process", "--config", "run.yaml", "--env.penalty", "-1", "--env.sources", "x,y", "--env.seeds",
        "[1, -2]", "--env.use_wandb", "false", "--env.data_path_to_save_groups", "output.jsonl",
        "--env.tokenizer_name", str(tokenizer_folder), "--openai.model_name", "m", "--openai.api_key", KEY,
        "--openai.server_type", "openai", "--openai.health_check", "false",
    )  # fmt: skip
    assert code == 0, printed
    assert "CONFIG ['x', 'y'] [1, -2] -1.0 7" in printed
    first, second = lines(user.path / "output.jsonl")
    assert first["reward"] == second["reward"] == 0.75
    assert [message["role"] for message in first["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    assert first["token_source"] == "retokenised"
    assert len(first["tokens"]) == len(first["masks"])
    assert set(first["masks"]) - {-100} < set(first["tokens"])

    code, printed = user.python(
        "guide_env.py", "evaluate", "--config", "run.yaml", "--env.eval_size", "2",
        "--env.data_dir_to_save_evals", "evals", "--openai.model_name", "m", "--openai.api_key", KEY,
    )  # fmt: skip
    assert code == 0, printed
    assert json.loads((user.path / "evals/metrics.json").read_text())["results"]["all"] == {"eval/mean_reward": 0.75}
    assert [sample["response"] for sample in lines(user.path / "evals/samples.jsonl")] == ["It is 42."] * 2
    assert "max_agent_turns: 7" in (user.path / "evals/evaluate_config.yaml").read_text()
    assert {request.headers["authorization"] for request in model_server.requests} == {f"Bearer {KEY}"}
    (user.path / "run.yaml").unlink()
    said_nowhere(KEY, user, printed)


def test_an_environment_is_a_benchmark_of_the_pytest_door(user: Bench, model_server: ModelServer) -> None:
    asked = ("--hermes-bench=guide_env.py:MyEnv", "--hermes-model=m", f"--hermes-base-url={model_server.url}")
    user.env(OPENROUTER_API_KEY=KEY)
    result = user.run_inside(*asked)
    assert result.ret == 4
    result.stderr.fnmatch_lines("*'my-env' has endless tasks: set a limit with --hermes-limit=N")

    # The judge is the environment's own server, which is not to be reached here.
    text = (user.path / "guide_env.py").read_text().replace("https://openrouter.ai/api/v1", model_server.url)
    user.file("guide_env.py", text.replace("group_size=1", "group_size=1, terminal_backend='modal'"))
    result = user.run_inside(*asked, "--hermes-limit=3")
    result.stderr.fnmatch_lines("ERROR: *this version has no sandbox 'modal' yet; *")
    result = user.run(*asked, "--hermes-limit=3", "--hermes-sandbox=local", "--hermes-run-dir=out", "-v")
    result.assert_outcomes(failed=3)
    records = user.records()
    assert [record["reward"] for record in records] == [0.75] * 3
    assert all(record["benchmark"] == "my-env" and record["task"].startswith("item-") for record in records)
    assert records[0]["messages"][0] == {"role": "system", "content": "Answer."}


def test_help_shows_the_values_of_every_field_that_has_few(capsys: pytest.CaptureFixture[str]) -> None:
    from pytest_hermes.atropos.command_line import main
    from pytest_hermes.atropos.env_config import schema_of
    from pytest_hermes.config.fields import choices_of
    from tests.atropos.environments.guide_env import MyEnv, MyEnvConfig

    with pytest.raises(SystemExit) as ended:
        main(MyEnv, ["--help"], "my_env.py")
    text = capsys.readouterr().out
    assert ended.value.code == 0
    fields = {
        f"{section}.{name}": choices_of(field.annotation)
        for section, model in schema_of(MyEnvConfig).sections.items()
        for name, field in model.model_fields.items()
    }
    assert fields["env.eval_handling"] == ["STOP_TRAIN", "LIMIT_TRAIN", "NONE"]
    for key, values in fields.items():
        if values and values != ["true", "false"]:
            assert f"  --{key} {{{','.join(values)}}}\n" in text, key
    # The other door's options mean nothing here.
    assert "--hermes-" not in text


def test_bad_input_is_one_line(user: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    from pytest_hermes.atropos.command_line import main
    from tests.atropos.environments.guide_env import MyEnv

    user.file("run.yaml", "env:\n  max_agent_turns: 3\n  gruop_size: 2\n")
    arguments: tuple[str, ...]
    for arguments, message in (
        (("--config", "run.yaml"), "run.yaml:3: unknown key 'env.gruop_size'; did you mean env.group_size?"),
        (("--env.max_agent_turn", "3"), "unknown key 'env.max_agent_turn'; did you mean env.max_agent_turns?"),
        (("--env.tokenizer_name", "no/such"), "tokenizer_name: the tokenizer 'no/such' cannot be loaded"),
        (("--env.enabled_toolsets", "terminal,web"), "toolset 'web' is not part of this version yet"),
        (("--env.seeds", "1,x"), "--env.seeds: env.seeds cannot be ['1', 'x']: Input should be a valid integer"),
        (("--env.penalty", "-1e-3", "--env.group_size", "-2e1"), "env.group_size must be a whole number of at least 1"),
    ):
        code = main(MyEnv, ["process", "--openai.base_url", "http://127.0.0.1:9/v1", *arguments], "my_env.py")
        printed = capsys.readouterr().err
        assert code == 2, printed
        assert message in printed
        assert "Traceback" not in printed
    user.file("taken", "")
    nowhere = ("evaluate", "--openai.model_name", "nop", "--env.data_dir_to_save_evals", str(user.path / "taken/x"))
    for arguments, message in (
        (("terminal_test", *nowhere), "cannot write the evaluation to *; see --env.data_dir_to_save_evals"),
        (("terminal_test", "evaluate", "--openai.model_name", "m"), "*, or pass --openai.base_url=http*"),
        (("process", "terminal_test"), "the name of an environment comes first: hermes-env NAME process"),
        ((f"{user.path / 'guide_env.py'}:MyEmv", "process"), "*unknown class 'MyEmv'; did you mean 'MyEnv'? *"),
    ):
        assert hermes_env(*arguments) == 2
        assert fnmatch(capsys.readouterr().err.splitlines()[-1], f"hermes-env: {message}".replace("[", "[[]"))


def test_a_key_log_that_cannot_be_written_is_one_line(user: Bench) -> None:
    user.env(SSLKEYLOGFILE="/missing/keys.txt")
    said = "hermes-env: SSLKEYLOGFILE: cannot write /missing/keys.txt: name another file, or unset it\n"
    assert user.python("-m", "pytest_hermes.atropos", "terminal_test", "process") == (2, said)


def test_a_hub_that_is_not_there_is_asked_once(user: Bench) -> None:
    user.env(HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9")
    code, printed = user.python(
        "-m", "pytest_hermes.atropos", "terminal_test", "process",
        "--openai.model_name", "no/such", "--openai.base_url", "http://127.0.0.1:9/v1",
    )  # fmt: skip
    assert code == 1
    assert "Retry" not in printed
    assert printed.endswith("hermes-env: cannot reach http://127.0.0.1:9/v1: Connection refused (3 tries)\n")


def test_what_an_endpoint_says_ends_the_run(
    user: Bench, model_server: ModelServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(user.path)
    evaluate = ("terminal_test", "evaluate", "--env.task_filter", "create-file", "--openai.model_name", "m")
    assert hermes_env(*evaluate, "--openai.base_url", "http://127.0.0.1:9/v1") == 1
    printed = capsys.readouterr().err
    assert "hermes-env: cannot reach http://127.0.0.1:9/v1: Connection refused (3 tries)\n" in printed
    assert "Traceback" not in printed
    model_server.script = lambda body: Reply(400, '{"error": {"message": "no such tool format"}}')
    assert hermes_env(*evaluate, "--openai.base_url", model_server.url) == 1
    printed = capsys.readouterr().err
    assert "none of the 1 rollouts could be scored" in printed
    assert "no such tool format" in printed
    assert "RetryError" not in printed
    assert len(model_server.requests) == 2  # once, and once more afresh


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_sandbox(user: Bench, model_server: ModelServer, number: int) -> None:
    model_server.script = lambda body: completion(None, ("terminal", {"command": "exec -a mark-7d1f sleep 300"}))
    process = user.start_python(
        "-m", "pytest_hermes.atropos", "terminal_test", "process", "--openai.base_url", model_server.url,
        "--openai.model_name", "m",
    )  # fmt: skip
    while not processes_with("mark-7d1f"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, printed
    assert "Traceback" not in printed
    assert not processes_with("mark-7d1f")


def test_a_benchmark_is_an_environment(
    user: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tokenizer_folder: Path
) -> None:
    monkeypatch.chdir(user.path)
    code = hermes_env("terminal_test", "evaluate", "--env.task_filter", "create-file,fix-*,clean-up")
    assert code == 0, capsys.readouterr().err
    (folder,) = (user.path / "hermes-runs").iterdir()
    metrics = json.loads((folder / "metrics.json").read_text())["results"]["all"]
    assert metrics["eval/mean_reward"] == 1.0
    assert metrics["eval/category/scripts/scored"] == 1
    assert metrics["eval/difficulty/easy/mean_reward"] == 1.0
    assert {record["status"] for record in lines(folder / "results.jsonl")} == {"passed"}
    assert {sample["response"] for sample in lines(folder / "samples.jsonl")} == {"Done."}

    # Once more into the same folder: what is there is kept.
    path = folder / "metrics.json"
    before = path.read_text()
    again = (
        "terminal_test",
        "evaluate",
        "--env.task_filter",
        "create-file",
        "--env.data_dir_to_save_evals",
        str(folder),
    )
    assert hermes_env(*again, "--openai.model_name", "nop") == 0
    assert path.read_text() == before
    assert json.loads(Path(f"{folder}_1/metrics.json").read_text())["results"]["all"]["eval/mean_reward"] == 0.0

    made = (
        "terminal_test",
        "process",
        "--env.task_filter",
        "create-file",
        "--env.data_path_to_save_groups",
        "out.jsonl",
    )
    assert hermes_env(*made, "--env.tokenizer_name", str(tokenizer_folder)) == 0
    assert hermes_env(*made, "--env.group_size=2", "--env.total_steps", "-1") == 2
    trajectories = lines(user.path / "out.jsonl")
    assert [line["task"] for line in trajectories] == ["create-file"] * 4
    assert all(line["reward"] == 1.0 and line["token_source"] == "retokenised" for line in trajectories)

    capsys.readouterr()
    assert hermes_env("terminal_tset", "process") == 2
    assert "did you mean 'terminal_test'" in capsys.readouterr().err
    assert hermes_env("terminal_test", "process", "--openai.base_url", "http://127.0.0.1:9/v1") == 2
    assert "a base URL also needs a model" in capsys.readouterr().err
    assert hermes_env("terminal_test", "serve") == 2
    assert "serve needs a tokenizer" in capsys.readouterr().err


OWN = """
import asyncio, pytest
from pytest_hermes import Benchmark, Task

class Own(Benchmark):
    name = "own"
    default_model = "oracle"
    reward_range = (-1, 1)
    async def tasks(self):
        await asyncio.sleep(0)
        yield Task(id="a", prompt="", solution="true")
        yield Task(id="b", prompt="", solution="true")
    async def compute_reward(self, item, result, ctx):
        return 1.0 if item.id == "a" else -1.0

class Skips(Own):
    async def setup(self):
        pytest.skip("no gpu")

class Returns(Own):
    def tasks(self):
        return None
"""


def test_a_benchmarks_own_code_in_this_door(
    user: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(user.path)
    user.file("own.py", OWN)
    assert hermes_env("own.py:Own", "evaluate", "--env.data_dir_to_save_evals", "evals") == 0, capsys.readouterr().err
    metrics = json.loads((user.path / "evals/metrics.json").read_text())["results"]["all"]
    assert [metrics[f"eval/mean_reward{end}"] for end in ("", "_low", "_high")] == [0.0, -1.0, 1.0]
    capsys.readouterr()
    for name, message in (
        ("Skips", "benchmark 'own': Skips.setup() at own.py:18 raised Skipped: no gpu"),
        ("Returns", "benchmark 'own': Returns.tasks() (own.py:21) returned None; it must return Task objects or dicts"),
    ):
        assert hermes_env(f"own.py:{name}", "evaluate") == 2
        printed = capsys.readouterr().err
        assert f"hermes-env: {message}\n" in printed
        assert "Traceback" not in printed


def test_several_servers_share_the_work(
    user: Bench, model_server: ModelServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(user.path)
    model_server.script = lambda body: Reply(body=json.dumps(completion("Done.")), mood="late", seconds=0.2)
    user.file(
        "servers.yaml",
        f"openai:\n- {{base_url: {model_server.url}, model_name: one, api_key: sk-of-the-first-one}}\n"
        f"- {{base_url: {model_server.url}, model_name: two}}\n",
    )
    evaluate = ("terminal_test", "evaluate", "--config", "servers.yaml")
    assert hermes_env(*evaluate, "--env.data_dir_to_save_evals", "evals") == 0, capsys.readouterr().err
    asked = {(request.body["model"], request.headers["authorization"]) for request in model_server.requests}
    assert asked == {("one", "Bearer sk-of-the-first-one"), ("two", "Bearer none")}
    assert "sk-of" not in (user.path / "evals/evaluate_config.yaml").read_text()
    capsys.readouterr()
    assert hermes_env(*evaluate, "--openai.model_name", "three") == 2
    assert "cannot be set for all of the servers that servers.yaml:1 lists" in capsys.readouterr().err


def test_a_benchmark_that_is_only_measured(
    user: Bench, model_server: ModelServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_hermes.atropos.command_line import main
    from tests.atropos.environments.eval_only_env import MyBenchEnv

    monkeypatch.chdir(user.path)
    model_server.script = lambda body: completion("1")
    arguments = ["evaluate", "--openai.base_url", model_server.url, "--env.data_dir_to_save_evals", "evals"]
    assert main(MyBenchEnv, arguments, "my_bench.py") == 0, capsys.readouterr().err
    expected = [("say-0", 0.0), ("say-1", 1.0), ("say-2", 0.0), ("say-3", None)]
    for file in ("streamed.jsonl", "evals/samples.jsonl"):
        assert sorted((sample["task"], sample["reward"]) for sample in lines(user.path / file)) == expected
    metrics = json.loads((user.path / "evals/metrics.json").read_text())
    assert metrics["results"]["all"] == {"eval/mean_reward": pytest.approx(1 / 3)}
    # The environment's key belongs to the address it names itself.
    assert {request.headers["authorization"] for request in model_server.requests} == {"Bearer none"}
    with pytest.raises(SystemExit) as stopped:
        main(MyBenchEnv, ["process"], "my_bench.py")
    assert stopped.value.code == 2


def test_the_pytest_door_does_without_atroposlib(bench: Bench) -> None:
    code, printed = bench.python("-X", "importtime", "-m", "pytest", "--co", "-q", "--hermes-bench=terminal_test")
    assert code == 0, printed
    assert "pytest_hermes.benchmarks.terminal_test" in printed
    for package in ("atroposlib", "transformers", "wandb", "datasets"):
        assert f" {package}\n" not in printed

"""`--hermes-config`, `--hermes-set` and `--hermes-show-config`, as users meet them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_hermes.config.fields import TESTING
from tests.services.bench import Bench
from tests.services.model_server import ModelServer, completion
from tests.test_config import REFERENCE

BENCH = "--hermes-bench=terminal_test"

ONE = """
from pytest_hermes import Benchmark, Limits, Task

class One(Benchmark):
    name = "one"
    default_model = "oracle"
    max_agent_turns = 7
    system_prompt = "Be brief."
    default_config = None

    def tasks(self):
        return [
            Task(id="plain", prompt="Do it."),
            Task(id="long", prompt="Do it.", limits=Limits(turns=4, agent_seconds=60)),
        ]

    async def compute_reward(self, item, result, ctx):
        return 1.0

class Two(One):
    name = "two"
    max_agent_turns = 8
    default_config = "two.yaml"
"""

#: A model that never ends by itself.
GOES_ON = completion(None, ("terminal", {"command": "pwd"}))


@pytest.fixture
def one(bench: Bench, model_server: ModelServer) -> Bench:
    bench.file("one.py", ONE)
    bench.file("two.yaml", "env:\n  max_agent_turns: 9\n  task_filter: plain\n")
    model_server.play(GOES_ON)
    return bench


def rows(result: pytest.RunResult) -> dict[str, tuple[str, str]]:
    """Return the rows of `--hermes-show-config`: key -> value, origin; of a block with a title, `title/key`."""
    found, title = {}, ""
    for line in result.outlines:
        if line.startswith("  "):
            parts = [part for part in line.split("  ") if part.strip()]
            assert len(parts) == 3, line
            found[title + parts[0].strip()] = (parts[1].strip(), parts[2].strip())
        elif line.startswith("only "):
            title = line.removeprefix("only ").removesuffix(":") + "/"
        elif line.endswith(":"):
            title = ""
    return found


def requests(server: ModelServer) -> list[dict[str, Any]]:
    return [request.body for request in server.requests]


def test_a_file_configures_what_agents_get(one: Bench, model_server: ModelServer) -> None:
    one.file(
        "tb.yaml",
        f"""\
env:
  enabled_toolsets: terminal, file
  disabled_toolsets: [file]
  max_agent_turns: 3
  agent_temperature: 0.25
  max_token_length: 77
  system_prompt: Think twice.
  extra_body: {{provider: {{order: [a]}}}}
  task_filter: "pl*"
openai:
  base_url: {model_server.url}
  model_name: tiny
  api_key: hush-hush-hush
""",
    )
    result = one.run_inside("--hermes-bench=one.py:One", "--hermes-config=tb.yaml", "--hermes-run-dir=out")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"hermes: one, 1 task, model tiny at {model_server.url}", "hermes: config tb.yaml"])
    (record,) = one.records()
    assert (record["task"], record["turns_used"], record["stop_reason"]) == ("plain", 3, "max_turns")
    body = requests(model_server)[0]
    assert (body["temperature"], body["max_tokens"], body["provider"]) == (0.25, 77, {"order": ["a"]})
    assert body["messages"][0] == {"role": "system", "content": "Think twice."}
    assert {tool["function"]["name"] for tool in body["tools"]} == {"terminal", "process"}
    assert model_server.requests[0].headers["authorization"] == "Bearer hush-hush-hush"
    written = [path for path in one.path.rglob("*") if path.is_file() and path.name != "tb.yaml"]
    assert not [path for path in written if b"hush-hush" in path.read_bytes()]
    assert "hush-hush" not in result.stdout.str()


def test_a_key_of_a_file_goes_nowhere_else(one: Bench, model_server: ModelServer) -> None:
    one.file("tb.yaml", "openai: {base_url: 'http://127.0.0.1:9/v1', model_name: tiny, api_key: hush-hush-hush}")
    result = one.run_inside(
        "--hermes-bench=one.py:One",
        "--hermes-task=long",
        "--hermes-config=tb.yaml",
        f"--hermes-base-url={model_server.url}",
    )
    result.assert_outcomes(passed=1)
    assert "hush" not in model_server.requests[0].headers["authorization"]
    result.stdout.fnmatch_lines(["hermes: config tb.yaml; not used: openai.api_key (another base_url is in use)"])


@pytest.mark.parametrize(
    ("setting", "turns"),
    [
        ("env.max_agent_turns=2", {"plain": 2, "long": 4}),
        ("env.max_agent_turns=6", {"plain": 6, "long": 4}),
        ("env.terminal_timeout=60", {"plain": 7, "long": 4}),
    ],
)
def test_the_limits_of_a_task_are_its_own(
    one: Bench, model_server: ModelServer, setting: str, turns: dict[str, int]
) -> None:
    where = (f"--hermes-base-url={model_server.url}", "--hermes-model=tiny", "--hermes-run-dir=out")
    one.run_inside("--hermes-bench=one.py:One", *where, "--hermes-set", setting).assert_outcomes(passed=2)
    assert {record["task"]: record["turns_used"] for record in one.records()} == turns


def test_a_lifetime_caps_the_agent_and_a_timeout_its_commands(one: Bench, model_server: ModelServer) -> None:
    where = (f"--hermes-base-url={model_server.url}", "--hermes-model=tiny", "--hermes-run-dir=out")
    model_server.play(completion(None, ("terminal", {"command": "sleep 50"})))
    short = ("--hermes-set", "env.terminal_lifetime=8", "--hermes-task=long")
    one.run_inside("--hermes-bench=one.py:One", *where, *short).assert_outcomes(passed=1)
    assert one.records()[-1]["stop_reason"] == "time"
    model_server.play(completion(None, ("terminal", {"command": "sleep 30"})), completion("Done."))
    short = ("--hermes-set", "env.terminal_timeout=1", "--hermes-task=long")
    one.run_inside("--hermes-bench=one.py:One", *where, *short).assert_outcomes(passed=1)
    record = one.records()[-1]
    assert record["stop_reason"] == "finished"
    assert json.loads(record["messages"][3]["content"])["exit_code"] == 124


def test_each_source_wins_over_the_weaker_ones(bench: Bench) -> None:
    def turns(*arguments: str) -> tuple[str, str]:
        shown = rows(bench.run_inside(BENCH, "--hermes-show-config", *arguments))
        return shown["env.max_agent_turns"]

    assert turns() == ("15", "benchmark terminal_test")
    bench.file("conf/tb.yaml", "env:\n\n  max_agent_turns: 20\n")
    assert turns("--hermes-config=conf/tb.yaml") == ("20", "conf/tb.yaml:3")
    bench.file("pytest.ini", "[pytest]\nhermes_config = conf/tb.yaml\n")
    assert turns() == ("20", "conf/tb.yaml:3")
    bench.file("pytest.ini", "[pytest]\nhermes_config = conf/tb.yaml\nhermes_set =\n    env.max_agent_turns=21\n")
    assert turns() == ("21", "ini key hermes_set")
    bench.env(PYTEST_HERMES_SET="env.max_agent_turns=22\nenv.terminal_timeout=5")
    assert turns() == ("22", "PYTEST_HERMES_SET")
    assert turns("--hermes-set=env.max_agent_turns=23") == ("23", "--hermes-set")
    assert turns("--hermes-set=env.max_agent_turns=23", "--hermes-set=env.max_agent_turns=24")[0] == "24"


def test_the_environment_names_the_file_too_and_options_win_over_fields(bench: Bench) -> None:
    bench.file("tb.yaml", "env: {task_filter: edit-*, skip_tasks: [edit-json], terminal_backend: gone}\n")
    bench.env(PYTEST_HERMES_CONFIG="tb.yaml", PYTEST_HERMES_MODEL="nop")
    shown = rows(bench.run_inside(BENCH, "--hermes-show-config", "--hermes-sandbox=local", "--hermes-task=create-file"))
    assert shown["env.terminal_backend"] == ("local", "--hermes-sandbox")
    assert shown["env.task_filter"] == ('["create-file"]', "--hermes-task")
    assert shown["env.skip_tasks"] == ('["edit-json"]', "tb.yaml:1")
    assert shown["openai.model_name"] == ("nop", "PYTEST_HERMES_MODEL")
    assert shown["--hermes-config"] == ("tb.yaml", "PYTEST_HERMES_CONFIG")
    result = bench.run_inside(BENCH, "--co", "-q", "--hermes-sandbox=local")
    assert [line for line in result.outlines if "::" in line] == ["terminal_test::test_task[edit-one-line]"]
    listed = bench.run_inside(BENCH, "--hermes-list", "--hermes-sandbox=local")
    assert [line.split()[0] for line in listed.outlines if line.startswith("  ")] == ["edit-one-line"]


def test_the_ini_file_s_path_counts_from_its_folder(bench: Bench) -> None:
    bench.file("pytest.ini", "[pytest]\nhermes_config = tb.yaml\n")
    bench.file("tb.yaml", "env: {max_agent_turns: 20}\n")
    (bench.path / "below").mkdir()
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", BENCH, "--hermes-show-config"],
        cwd=bench.path / "below", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "../tb.yaml:1" in shown.stdout


def test_a_benchmark_s_own_file_is_the_weakest_of_files(one: Bench) -> None:
    both = ("--hermes-bench=one.py:One,one.py:Two", "--hermes-show-config")
    shown = rows(one.run_inside(*both))
    assert shown["one/env.max_agent_turns"] == ("7", "benchmark one")
    assert shown["two/env.max_agent_turns"] == ("9", "two/two.yaml:2")
    assert shown["env.terminal_timeout"] == ("120", "default")
    shown = rows(one.run_inside(*both, "--hermes-set=env.max_agent_turns=3"))
    assert shown["env.max_agent_turns"] == ("3", "--hermes-set")
    result = one.run_inside("--hermes-bench=one.py:One,one.py:Two", "--co", "-q")
    assert [line for line in result.outlines if "::" in line] == [
        "one::test_task[plain]", "one::test_task[long]", "two::test_task[plain]",
    ]  # fmt: skip


def test_the_reference_s_example_runs_with_what_it_means_here(bench: Bench) -> None:
    bench.file("tb.yaml", REFERENCE)
    result = bench.run_inside(
        BENCH, "--hermes-config=tb.yaml", "--hermes-sandbox=local", "--hermes-model=oracle", "-n8"
    )
    result.assert_outcomes(passed=16)
    header = next(line for line in result.outlines if line.startswith("hermes: config"))
    assert header == (
        "hermes: config tb.yaml; not used: env.dataset_name (terminal_test does not load a dataset by name); "
        "env.tokenizer_name, env.use_wandb, env.wandb_name, openai.server_type, openai.health_check "
        "(only for training); openai.base_url (oracle needs no endpoint)"
    )


def test_show_config_hides_what_is_secret(bench: Bench) -> None:
    bench.env(MY_API_KEY="swordfish-77")
    bench.file(
        "tb.yaml",
        "env:\n  extra_body: {metadata: {api_key: hush-hush}, max_tokens: 5}\n  system_prompt: Say swordfish-77.\n"
        "openai: {base_url: 'https://me:hush-hush@host/v1', api_key: hush-hush}\n",
    )
    result = bench.run_inside("--hermes-config=tb.yaml", "--hermes-show-config")
    assert result.ret == 0
    shown = rows(result)
    assert shown["openai.api_key"] == ("[redacted]", "tb.yaml:4")
    assert shown["openai.base_url"] == ("https://[redacted]@host/v1", "tb.yaml:4")
    assert shown["env.extra_body"][0] == '{"metadata": {"api_key": "[redacted]"}, "max_tokens": 5}'
    assert shown["env.system_prompt"][0] == "Say [redacted]."
    assert "hush" not in result.stdout.str()


def test_show_config_shows_every_field_and_runs_nothing(bench: Bench) -> None:
    bench.file("test_own.py", "raise SystemExit(3)\n")
    result = bench.run_inside("--hermes-show-config", "--hermes-attempts=3")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["tests with hermes_agent:"])
    shown = rows(result)
    fields = [f"{section}.{name}" for section in TESTING.sections for name in TESTING.fields(section)]
    assert [key for key in shown if key.startswith(("env.", "openai."))] == fields
    assert shown["env.enabled_toolsets"] == ('["terminal", "file"]', "hermes_agent")
    assert shown["env.eval_handling"] == ("STOP_TRAIN", "default (not used: only for training)")
    assert shown["--hermes-attempts"] == ("3", "--hermes-attempts")
    assert "test session starts" not in result.stdout.str()


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("env:\n  max_turns: 3\n", (), "tb.yaml:2: unknown key 'env.max_turns'; did you mean env.max_agent_turns[?]"),
        ("env:\n  terminal_timeout: soon\n", (), "tb.yaml:2: env.terminal_timeout must be a whole number of at least*"),
        ("env: {a: [}\n", (), "tb.yaml:1: not valid YAML: *"),
        ("env: {}\nenv: {}\n", (), "tb.yaml:2: key 'env' occurs twice, first in line 1"),
        (
            "env:\n\n  enabled_toolsets: [terminl]\n",
            (),
            "tb.yaml:3: unknown toolset 'terminl'; did you mean 'terminal'*",
        ),
        ("env:\n  disabled_toolsets: fil\n", (), "*tb.yaml:2: unknown toolset 'fil'; did you mean 'file'*"),
        ("env: {terminal_backend: lokal}\n", (), "tb.yaml:1: unknown sandbox 'lokal'; did you mean 'local'*"),
        ("env: {task_filter: create-fil}\n", (), "tb.yaml:1: unknown task 'create-fil'; did you mean 'create-file'*"),
        ("env: {skip_tasks: '*'}\n", (), "tb.yaml:1: no task is left*"),
        ("openai: {base_url: x, model_name: y}\n", (), "tb.yaml:1: base URL 'x' is not an http(s) address*"),
        ("openai:\n  base_url: http://x\n", (), "tb.yaml:2: base URL http://x needs a model: add --hermes-model=NAME"),
        (
            "openai: {base_url: 'http://me:hush@x'}\n",
            (),
            "tb.yaml:1: a base URL must not hold a user name or password*",
        ),
        ("openai: {model_name: y}\n", (), "no endpoint for model 'y': set OPENROUTER_API_KEY*"),
        ("openai: {api_key: hush}\n", (), "tb.yaml:1: openai.api_key needs the openai.base_url*"),
        (
            "",
            ("--hermes-set", "env.agent_temperature=-1"),
            "--hermes-set: env.agent_temperature must be a number of at least 0, or null to leave it*, not -1",
        ),
        ("", ("--hermes-set=env.max_agent_turns",), "--hermes-set must be SECTION.FIELD=VALUE, such as*"),
        ("", ("--hermes-set=env.max_agent_turn=1",), "--hermes-set: unknown key 'env.max_agent_turn'; did you mean*"),
        ("", ("--hermes-config=gone.yaml",), "cannot read the configuration gone.yaml: No such file or directory"),
        ("", ("--hermes-confg=tb.yaml",), "unknown option --hermes-confg; did you mean --hermes-config[?]"),
    ],
)
def test_one_clear_line(bench: Bench, text: str, arguments: tuple[str, ...], message: str) -> None:
    bench.file("tb.yaml", text)
    result = bench.run_inside(BENCH, "--hermes-config=tb.yaml", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    output = [line for line in result.errlines if line.strip()]
    assert len(output) == 1, output
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert not (bench.path / "hermes-runs").exists()


OWN = """
async def test_as_configured(hermes_agent, tool_context):
    result = await hermes_agent.run("Work.")
    assert result.turns_used == 2
    assert tool_context.terminal("sleep 5")["exit_code"] == 124

async def test_as_said(hermes_agent):
    await hermes_agent.run(
        "Work.", system_prompt=None, toolsets=("file",), max_turns=1, temperature=None, max_tokens=5, extra_body=None
    )
"""


@pytest.mark.parametrize("mode", [(), ("-n2",)])
def test_tests_with_an_agent_have_their_defaults_from_it(
    bench: Bench, model_server: ModelServer, mode: tuple[str, ...]
) -> None:
    bench.file(
        "pytest.ini",
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
        "hermes_config = tb.yaml\n",
    )
    bench.file(
        "tb.yaml",
        "env: {max_agent_turns: 2, agent_temperature: 0.5, system_prompt: Be kind., enabled_toolsets: [terminal],\n"
        "  terminal_timeout: 1, max_token_length: 9, extra_body: {seed: 1}, group_size: 4, task_filter: x}\n"
        f"openai: {{base_url: '{model_server.url}', model_name: tiny}}\n",
    )
    bench.file("test_own.py", OWN)
    model_server.play(GOES_ON)
    result = bench.run_inside("--hermes-run-dir=out", *mode)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["hermes: config tb.yaml; not used: env.group_size (only for training); env.task_filter (no benchmark runs)"]
    )
    configured = next(body for body in requests(model_server) if body.get("temperature") == 0.5)
    assert configured["messages"][0] == {"role": "system", "content": "Be kind."}
    assert (configured["max_tokens"], configured["seed"]) == (9, 1)
    assert "terminal" in {tool["function"]["name"] for tool in configured["tools"]}
    output = next(body for body in requests(model_server) if "temperature" not in body)
    assert output["messages"][0]["role"] == "user"
    assert (output["max_tokens"], "seed" in output) == (5, False)
    assert "terminal" not in {tool["function"]["name"] for tool in output["tools"]}


def test_without_a_benchmark_a_file_that_does_not_fit_is_said_at_once(bench: Bench) -> None:
    bench.file("test_own.py", "def test_mine(): pass\n")
    bench.file("tb.yaml", "env: {max_agent_turns: 0}\n")
    result = bench.run_inside("--hermes-config=tb.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: tb.yaml:1: env.max_agent_turns must be a whole number of at least 1, not 0"])


def test_a_file_may_be_anywhere(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    file: Path = tmp_path_factory.mktemp("elsewhere") / "tb.yaml"
    file.write_text("env: {max_agent_turns: 20}\n")
    shown = rows(bench.run_inside(BENCH, "--hermes-show-config", f"--hermes-config={file}"))
    assert shown["env.max_agent_turns"] == ("20", f"{file}:1")


DOCS = Path(__file__).parents[2] / "docs"


def blocks(document: str, language: str) -> list[str]:
    """Return the code blocks of one language in a document."""
    text = (DOCS / document).read_text(encoding="utf-8")
    return [part.split("```")[0] for part in text.split(f"```{language}\n")[1:]]


@pytest.mark.parametrize(("document", "index"), [("configuration.md", 0), ("ci.md", 2)])
def test_the_files_of_the_documentation_fit(bench: Bench, document: str, index: int) -> None:
    bench.file("run.yaml", blocks(document, "yaml")[index])
    shown = rows(bench.run_inside("--hermes-config=run.yaml", "--hermes-show-config"))
    assert shown["openai.model_name"][0] == "anthropic/claude-sonnet-4.6"
    assert shown["env.max_agent_turns"][0] in ("40", "60")


@pytest.mark.parametrize(("floor", "status"), [("0.60", 1), ("0.40", 0)])
def test_the_score_may_decide_as_documented(bench: Bench, floor: str, status: int) -> None:
    bench.file("conftest.py", blocks("ci.md", "python")[0].replace("0.60", floor))
    bench.file("one.py", ONE.replace("return 1.0", "return float(item.id == 'plain')"))
    result = bench.run_inside("--hermes-bench=one.py:One", "--hermes-model=nop")
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == status

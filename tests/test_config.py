"""Configurations: which value of a field wins, and the message about an invalid one."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pytest_hermes.benchmark import Benchmark
from pytest_hermes.config.fields import SECTIONS, EnvConfig, EvalHandling, Network
from pytest_hermes.config.settings import Config, Layer, Origin, Setting, resolve
from pytest_hermes.config.unused import describe_unused
from pytest_hermes.config.yaml_text import parse_assignment, read_settings
from pytest_hermes.errors import UsageError
from pytest_hermes.runs.benchmark_settings import benchmark_settings

#: The example of the reference's "YAML Configuration".
REFERENCE = """\
env:
  enabled_toolsets: ["terminal", "file"]
  max_agent_turns: 60
  max_token_length: 32000
  agent_temperature: 0.8
  terminal_backend: "modal"
  terminal_timeout: 300
  dataset_name: "NousResearch/terminal-bench-2"
  tokenizer_name: "NousResearch/Hermes-3-Llama-3.1-8B"
  use_wandb: true
  wandb_name: "my-benchmark"
openai:
  base_url: "https://openrouter.ai/api/v1"
  model_name: "anthropic/claude-sonnet-4.6"
  server_type: "openai"
  health_check: false
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tb.yaml"


def load(file: Path, text: str | bytes) -> Config:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return resolve(read_settings(file, "tb.yaml"))


def assigned(*texts: str) -> Config:
    return resolve(parse_assignment(text, "--hermes-set", Layer.COMMAND_LINE) for text in texts)


def test_defaults_are_those_of_the_reference() -> None:
    assert EnvConfig().model_dump() == {
        "enabled_toolsets": None,
        "disabled_toolsets": None,
        "distribution": None,
        "max_agent_turns": 30,
        "agent_temperature": 1.0,
        "system_prompt": None,
        "terminal_backend": "local",
        "terminal_image": None,
        "terminal_network": Network.DEFAULT,
        "terminal_options": None,
        "terminal_timeout": 120,
        "terminal_lifetime": 3600,
        "dataset_name": None,
        "dataset_split": "train",
        "dataset_revision": None,
        "prompt_field": "prompt",
        "tool_pool_size": 128,
        "tool_call_parser": "hermes",
        "extra_body": None,
        "eval_handling": EvalHandling.STOP_TRAIN,
        "max_token_length": None,
        "verifier": None,
        "force_build": False,
        "task_filter": None,
        "skip_tasks": None,
    }


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_is_described(section: str) -> None:
    for name, field in SECTIONS[section].model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(ValidationError):
        EnvConfig().max_agent_turns = 3  # type: ignore[misc]


def test_the_file_of_the_reference(file: Path) -> None:
    config = load(file, REFERENCE)
    assert config.env.enabled_toolsets == ["terminal", "file"]
    assert (config.env.max_agent_turns, config.env.max_token_length) == (60, 32000)
    assert (config.env.agent_temperature, config.env.terminal_backend) == (0.8, "modal")
    assert (config.env.terminal_timeout, config.env.terminal_lifetime) == (300, 3600)
    assert config.openai.model_name == "anthropic/claude-sonnet-4.6"
    assert str(config.origin("env.max_agent_turns")) == "tb.yaml:3"
    assert str(config.origin("env.terminal_lifetime")) == "default"
    assert describe_unused(read_settings(file, "tb.yaml")) == (
        "env.tokenizer_name, env.use_wandb, env.wandb_name, openai.server_type, openai.health_check (only for training)"
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "env:\nopenai:\n", "env: {}", "openai: [{}]", "\ufeffenv: {}"])
def test_files_that_say_nothing(file: Path, text: str) -> None:
    assert load(file, text).origins == {}


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("env: {enabled_toolsets: 'terminal, file'}", "enabled_toolsets", ["terminal", "file"]),
        ("env: {enabled_toolsets: null}", "enabled_toolsets", None),
        ("env: {disabled_toolsets: []}", "disabled_toolsets", []),
        ("env: {task_filter: 'fix-git,git-*'}", "task_filter", ["fix-git", "git-*"]),
        ("env: {skip_tasks: [a, b]}", "skip_tasks", ["a", "b"]),
        ("env: {max_agent_turns: '60'}", "max_agent_turns", 60),
        ("env: {agent_temperature: 1e-1}", "agent_temperature", 0.1),
        ("env: {agent_temperature: 0}", "agent_temperature", 0.0),
        ("env: {agent_temperature: ~}", "agent_temperature", None),
        ("env: {eval_handling: NONE}", "eval_handling", EvalHandling.NONE),
        ("env: {extra_body: {provider: {order: [a]}, n: 1}}", "extra_body", {"provider": {"order": ["a"]}, "n": 1}),
        ("env: {system_prompt: ''}", "system_prompt", ""),
        ("x: &x {max_agent_turns: 3}\n", "", None),
        ("env: &e\n  max_agent_turns: 4\nopenai: {}\n", "max_agent_turns", 4),
        ("env:\n  <<: {max_agent_turns: 4, terminal_timeout: 5}\n  max_agent_turns: 6\n", "max_agent_turns", 6),
    ],
)
def test_values_as_people_write_them(file: Path, text: str, field: str, value: Any) -> None:
    if not field:
        with pytest.raises(UsageError, match=r"tb.yaml:1: unknown key 'x'; known: env, openai"):
            load(file, text)
        return
    assert getattr(load(file, text).env, field) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "env:\n  max_agent_turn: 3\n",
            "tb.yaml:2: unknown key 'env.max_agent_turn'; did you mean env.max_agent_turns?",
        ),
        ("max_agent_turns: 3\n", "tb.yaml:1: unknown key 'max_agent_turns'; did you mean env.max_agent_turns?"),
        ("\nopen_ai: {}\n", "tb.yaml:2: unknown key 'open_ai'; did you mean openai?"),
        ("env:\n  zzz: 3\n", "tb.yaml:2: unknown key 'env.zzz'; known: enabled_toolsets, *"),
        ("env:\n  1: 3\n", "tb.yaml:2: unknown key 'env.1'; known: *"),
        (
            "env:\n\n  max_agent_turns: ten\n",
            "tb.yaml:3: env.max_agent_turns must be a whole number of at least 1, not 'ten'",
        ),
        ("env: {max_agent_turns: 0}", "tb.yaml:1: env.max_agent_turns must be a whole number of at least 1, not 0"),
        ("env: {max_agent_turns: yes}", "*env.max_agent_turns must be a whole number of at least 1, not True"),
        ("env: {max_agent_turns: 2.5}", "*env.max_agent_turns must be a whole number of at least 1, not 2.5"),
        ("env: {max_agent_turns: ~}", "*env.max_agent_turns must be a whole number of at least 1, not null"),
        ("env: {agent_temperature: -1}", "*env.agent_temperature must be a number of at least 0, or null*, not -1"),
        ("env: {agent_temperature: .nan}", "*env.agent_temperature must be a number of at least 0, or null*, not nan"),
        (
            "env: {enabled_toolsets: 3}",
            "*env.enabled_toolsets must be a list of names, or names separated by commas*",
        ),
        ("env: {enabled_toolsets: ''}", "*env.enabled_toolsets must be a list of names*, not ''"),
        ("env: {task_filter: [007]}", "*env.task_filter must be a list of names*, not [[]7]"),
        ("env: {extra_body: [1]}", "*env.extra_body must be a mapping of names to JSON values, not [[]1]"),
        ("env: {extra_body: {a: 2024-01-01}}", "*env.extra_body must be a mapping of names to JSON values, not {*"),
        ("env: {extra_body: {a: .inf}}", "*env.extra_body must be a mapping of names to JSON values, not {'a': inf}"),
        ("env: {eval_handling: stop}", "*env.eval_handling must be STOP_TRAIN, LIMIT_TRAIN or NONE, not 'stop'"),
        ("env: {system_prompt: [a]}", "*env.system_prompt must be a string, not [[]'a']"),
        (r'env: {system_prompt: "\ud800"}', "tb.yaml:1: an escape in this text is half of a surrogate pair"),
        ("env: {terminal_backend: 2024-99-99}", "tb.yaml:1: not a value: month must be in 1..12"),
        ("env: [1]", "tb.yaml:1: section 'env' must be a mapping of keys to values"),
        ("- env", "tb.yaml:1: a configuration must be a mapping of keys to values"),
        ("openai: [{}, {}]", "tb.yaml:1: section 'openai' lists 2 servers; keep the one to measure"),
        ("env: {}\nenv: {}\n", "tb.yaml:2: key 'env' occurs twice, first in line 1"),
        ("env:\n  extra_body:\n    a: 1\n    a: 2\n", "tb.yaml:4: key 'a' occurs twice, first in line 3"),
        ("env: {[1]: 2}", "tb.yaml:1: a key must be a name"),
        (
            "env:\n\tmax_agent_turns: 3\n",
            "tb.yaml:2: not valid YAML: found character '\\t' that cannot start any token",
        ),
        ("env: {a: b", "tb.yaml:1: not valid YAML: expected ',' or '}', but got '<stream end>'"),
        ("env: *x", "tb.yaml:1: not valid YAML: found undefined alias 'x'"),
        ("env:\n  extra_body: &a {b: *a}\n", "tb.yaml:2: not valid YAML: found unconstructable recursive node"),
        (
            "env:\n  system_prompt: !!python/name:os.system\n",
            "tb.yaml:2: not valid YAML: could not determine a constr*",
        ),
        ("env: {}\n---\nenv: {}\n", "tb.yaml:2: not valid YAML: but found another document"),
        ("env: {}\n\0", "tb.yaml:2: not valid YAML: character '\\x00' is not allowed"),
        (b"env: {}\n#\xff\n", "tb.yaml:2: not UTF-8 text"),
        ("env: " + "[" * 5000, "tb.yaml: not valid YAML: maximum recursion depth exceeded*"),
        (
            "openai: {api_key: hush-hush}",
            "tb.yaml:1: openai.api_key needs the openai.base_url it belongs to in the same*",
        ),
        (
            "openai: {base_url: http://x, api_key: [hush-hush]}",
            "tb.yaml:1: openai.api_key must be a string, not a list",
        ),
        ("openai: {apikey: hush-hush}", "tb.yaml:1: unknown key 'openai.apikey'; did you mean openai.api_key?"),
    ],
)
def test_one_line_says_what_is_wrong_and_where(file: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(file, text)
    problem = pytest.LineMatcher(str(caught.value).splitlines())
    problem.fnmatch_lines([message])
    assert len(problem.lines) == 1
    assert "hush-hush" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^cannot read the configuration tb.yaml: No such file or directory$"):
        read_settings(tmp_path / "tb.yaml", "tb.yaml")
    with pytest.raises(UsageError, match=r"^cannot read the configuration tb.yaml: Is a directory$"):
        read_settings(tmp_path, "tb.yaml")


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("env.max_agent_turns=10", "max_agent_turns", 10),
        ("env.system_prompt=a = b", "system_prompt", "a = b"),
        ("env.enabled_toolsets=terminal,file", "enabled_toolsets", ["terminal", "file"]),
        ("env.enabled_toolsets=[terminal]", "enabled_toolsets", ["terminal"]),
        ("env.enabled_toolsets=", "enabled_toolsets", None),
        ("env.extra_body={seed: -1}", "extra_body", {"seed": -1}),
        (" env.max_agent_turns = 10", "max_agent_turns", 10),
    ],
)
def test_assignments(text: str, field: str, value: Any) -> None:
    assert getattr(assigned(text).env, field) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "env.max_agent_turns",
            "--hermes-set must be SECTION.FIELD=VALUE, such as env.max_agent_turns=10, not 'env.max*'",
        ),
        ("=1", "--hermes-set must be SECTION.FIELD=VALUE*"),
        ("env=1", "--hermes-set: unknown key 'env'*"),
        ("max_agent_turns=1", "--hermes-set: unknown key 'max_agent_turns'; did you mean env.max_agent_turns?"),
        ("env.extra_body.seed=1", "--hermes-set: env.extra_body is set as a whole, as YAML: env.extra_body={…}, not*"),
        ("env.max_agent_turns=-1", "--hermes-set: env.max_agent_turns must be a whole number of at least 1, not -1"),
        (
            "env.system_prompt=a: b: c",
            "--hermes-set env.system_prompt: not valid YAML: mapping values are not allowed*",
        ),
        ("env.extra_body={a: 1, a: 2}", "--hermes-set env.extra_body: key 'a' occurs twice, first in line 1"),
        ("openai.api_key=hush-hush", "--hermes-set does not accept openai.api_key*PYTEST_HERMES_API_KEY*"),
    ],
)
def test_assignments_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        assigned(text)
    pytest.LineMatcher(str(caught.value).splitlines()).fnmatch_lines([message])
    assert "hush-hush" not in str(caught.value)


def test_the_higher_layer_wins_and_there_the_last() -> None:
    given = [
        Setting("env.max_agent_turns", 9, Origin(Layer.COMMAND_LINE, "first")),
        Setting("env.max_agent_turns", 5, Origin(Layer.COMMAND_LINE, "second")),
        *(Setting("env.max_agent_turns", 100 + layer, Origin(layer, layer.name)) for layer in Layer),
        Setting("env.terminal_timeout", 1, Origin(Layer.ENVIRONMENT, "variable")),
        Setting("env.terminal_timeout", 2, Origin(Layer.INI, "ini")),
    ]
    assert str(resolve(given[:2]).origin("env.max_agent_turns")) == "second"
    config = resolve(given)
    assert (config.env.max_agent_turns, config.env.terminal_timeout) == (105, 1)
    for layer in reversed(Layer):
        here = resolve(setting for setting in given[2:7] if setting.origin.layer <= layer)
        assert here.env.max_agent_turns == 100 + layer or layer is Layer.COMMAND_LINE


def test_a_value_that_is_overridden_must_fit_all_the_same(file: Path) -> None:
    file.write_text("env: {max_agent_turns: many}")
    with pytest.raises(UsageError, match=r"tb.yaml:1"):
        resolve([*read_settings(file, "tb.yaml"), parse_assignment("env.max_agent_turns=3", "x", Layer.COMMAND_LINE)])


def test_a_key_is_only_for_the_base_url_beside_it(file: Path) -> None:
    beside = load(file, "openai: {base_url: 'http://a', api_key: hush-hush}")
    assert beside.api_key == "hush-hush"
    assert "hush" not in repr(beside)
    elsewhere = parse_assignment("openai.base_url=http://b", "--hermes-set", Layer.COMMAND_LINE)
    assert resolve([*read_settings(file, "tb.yaml"), elsewhere]).api_key is None


class Small(Benchmark):
    name = "small"
    max_agent_turns = 7
    default_model = "oracle"


def test_what_a_benchmark_says_of_itself(tmp_path: Path) -> None:
    config = resolve(benchmark_settings(Small()))
    assert (config.env.max_agent_turns, config.env.enabled_toolsets) == (7, ["terminal", "file"])
    assert config.openai.model_name == "oracle"
    assert str(config.origin("env.max_agent_turns")) == "benchmark small"
    assert str(config.origin("env.terminal_timeout")) == "default"


def test_the_defaults_file_of_a_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "default.yaml").write_text("env:\n  terminal_backend: docker\n  max_agent_turns: 60\n")
    monkeypatch.setattr(
        "pytest_hermes.runs.benchmark_settings.inspect.getfile", lambda cls: str(tmp_path / "module.py")
    )
    monkeypatch.setattr(Small, "default_config", "default.yaml")
    config = resolve(benchmark_settings(Small()))
    assert (config.env.terminal_backend, config.env.max_agent_turns) == ("docker", 60)
    assert str(config.origin("env.max_agent_turns")) == "small/default.yaml:3"
    assert config.origin("env.max_agent_turns").layer is Layer.BENCHMARK

    class Smaller(Small):
        """Has the file of its parent, and attributes that win over it."""

        name = "smaller"
        max_agent_turns = 3
        dataset = "tasks"

    smaller = Smaller()
    config = resolve(benchmark_settings(smaller))
    assert (config.env.terminal_backend, config.env.max_agent_turns, config.env.dataset_name) == ("docker", 3, "tasks")
    (tmp_path / "tasks").mkdir()
    assert resolve(benchmark_settings(smaller)).env.dataset_name == str(tmp_path / "tasks")
    vars(smaller)["dataset"] = [{"a": "row"}]  # what a benchmark keeps there is its own affair
    assert resolve(benchmark_settings(smaller)).env.dataset_name is None

    (tmp_path / "default.yaml").write_text("openai:\n  base_url: http://elsewhere\n")
    with pytest.raises(UsageError, match=r"^small/default.yaml:2: a benchmark's defaults cannot set openai.base"):
        benchmark_settings(Small())


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=20) | st.dates()
names = st.sampled_from(["env", "openai", "slurm", "max_agent_turns", "api_key", *EnvConfig.model_fields, "<<", "="])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | scalars, inner, max_size=4),
    max_leaves=12,
)
sections = st.dictionaries(st.sampled_from([*EnvConfig.model_fields, "model_name", "x"]), values, max_size=4)


def accepts_or_says_why(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        resolve(read_settings(file, "tb.yaml"))
    except UsageError as error:
        problem = str(error)
    else:
        return
    assert "tb.yaml" in problem
    assert len(problem.splitlines()) == 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, sections | values, max_size=3) | values)
def test_no_mapping_gives_a_traceback(file: Path, value: Any) -> None:
    accepts_or_says_why(file, yaml.safe_dump(value, allow_unicode=True))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("env:openai\n -?[]{}&*!|>'\"%@`,#\t<=~.0x1\ud800\0\x85")))
def test_no_text_gives_a_traceback(file: Path, text: str) -> None:
    accepts_or_says_why(file, text)

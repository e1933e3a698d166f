"""Task directories in the Harbor layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_hermes.benchmarks.terminalbench_2.folder_tasks import folder_tasks
from pytest_hermes.dataset.harbor import read_instruction, read_task, resolved
from pytest_hermes.dataset.rows import DatasetError
from pytest_hermes.errors import Unsupported
from pytest_hermes.task import VerifierSpec
from tests.services.rows import write_task

#: Every key that such files are known to hold.
FULL = """
version = "1.0"
artifacts = ["/app/out", {source = "logs", exclude = ["*.tmp"]}]
[task]
name = "org/task"
keywords = ["k"]
[metadata]
author_name = "A"
difficulty = "easy"
category = "programming"
tags = ["trivial", "alpine"]
expert_time_estimate_min = 90.0
[verifier]
timeout_sec = 900.0
env = {KEY = "${SECRET_KEY:-none}"}
environment_mode = "separate"
[agent]
timeout_sec = 120
[solution.env]
A = "b"
[environment]
build_timeout_sec = 600.0
docker_image = "someone/task:20251031"
cpus = 1
memory_mb = 2048
storage = "10G"
gpus = 0
allow_internet = false
mcp_servers = []
"""


def test_a_full_file(tmp_path: Path) -> None:
    task = read_task(write_task(tmp_path / "t", toml=FULL))
    assert (task.metadata.category, task.metadata.difficulty, task.metadata.tags) == (
        "programming", "easy", ("trivial", "alpine"),
    )  # fmt: skip
    assert (task.agent.timeout_sec, task.verifier.timeout_sec) == (120, 900)
    environment = task.environment
    assert (environment.docker_image, environment.cpus) == ("someone/task:20251031", 1)
    assert (environment.memory, environment.storage) == (2 << 30, 10 << 30)
    assert environment.network_mode == "no-network"
    assert task.artifacts == ("/app/out", "logs")
    assert task.wants_fresh_verifier
    task.check_supported(tmp_path / "t")
    assert resolved(task.verifier.env) == {"KEY": "none"}


@pytest.mark.parametrize(
    ("toml", "reason"),
    [
        ('[[steps]]\nname = "a"', "has several steps"),
        ("[environment]\ngpus = 1", "needs a GPU"),
        ('[environment]\nos = "windows"', "needs windows"),
        ('[environment]\nnetwork_mode = "allowlist"', "allows only some network hosts"),
        ('[agent]\nnetwork_mode = "no-network"', "changes its network between phases"),
        ('[agent]\nuser = "agent"', "runs commands as user agent"),
        ('[[environment.mcp_servers]]\nname = "a"', "needs MCP servers"),
        ("compose", "needs a compose file"),
    ],
)
def test_what_is_not_supported_has_a_reason(tmp_path: Path, toml: str, reason: str) -> None:
    folder = write_task(tmp_path / "t", toml="" if toml == "compose" else toml)
    if toml == "compose":
        (folder / "environment" / "docker-compose.yaml").write_text("services: {}\n")
    with pytest.raises(Unsupported, match=reason):
        read_task(folder).check_supported(folder)


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[agent\n", "cannot read .*task.toml: Expected"),
        ("[agent]\ntimeout_sec = -1\n", r"task.toml: agent.timeout_sec: .*, not -1"),
        ('[environment]\nmemory = "much"\n', "task.toml: environment.memory: .*'much'"),
        ("metadata = 3\n", "task.toml: metadata: "),
        ('[verifier]\nprocesses = "kill"\n', "task.toml: verifier.processes: .*'keep' or 'end', not 'kill'"),
        ('[verifier]\nreward = "exit code"\n', "task.toml: verifier.reward: .*'file' or 'exit_code', not 'exit code'"),
    ],
)
def test_a_file_that_does_not_fit_names_the_key(tmp_path: Path, toml: str, problem: str) -> None:
    with pytest.raises(DatasetError, match=problem):
        read_task(write_task(tmp_path / "t", toml=toml))


def test_what_a_task_asks_of_its_verifier(tmp_path: Path) -> None:
    write_task(tmp_path / "asks", toml='[verifier]\nprocesses = "keep"\nreward = "exit_code"\n')
    write_task(tmp_path / "asks-nothing")
    (asks, nothing), _ = folder_tasks(tmp_path)
    assert asks.verifier == VerifierSpec(processes="keep", reward="exit_code")
    assert nothing.verifier == VerifierSpec() == VerifierSpec(processes=None, reward="file")
    materials = [task.metadata["material"] for task in (asks, nothing)]
    assert [material.processes for material in materials] == ["keep", None]
    assert [material.exit_code_is_reward for material in materials] == [True, False]
    assert [material.tests().exit_code_is_reward for material in materials] == [True, False]


def test_instructions_come_without_their_canary(tmp_path: Path) -> None:
    canary = "<!-- harbor-canary GUID 1234 -->\n# CANARY too\n\n"
    folder = write_task(tmp_path / "t", instruction=f"{canary}# Title\n\nText with a canary.\n")
    assert read_instruction(folder) == "# Title\n\nText with a canary.\n"
    for empty in ("", canary):
        (folder / "instruction.md").write_text(empty)
        with pytest.raises(DatasetError, match=r"instruction.md is empty"):
            read_instruction(folder)


def test_variables_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE", "j")
    monkeypatch.delenv("MISSING", raising=False)
    assert resolved({"A": "x-${JUDGE}-${MISSING:-d}", "B": "$JUDGE"}) == {"A": "x-j-d", "B": "$JUDGE"}
    with pytest.raises(Unsupported, match="needs the environment variable MISSING"):
        resolved({"A": "${MISSING}"})

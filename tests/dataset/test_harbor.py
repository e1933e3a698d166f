"""Task directories in the Harbor layout."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_hermes.benchmarks.terminalbench_2.folder_tasks import folder_tasks
from pytest_hermes.dataset.harbor import parse_task, read_instruction, read_task, resolved
from pytest_hermes.dataset.harbor_keys import METADATA, TASK_TOML
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
    assert task.notes == ()
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
        (
            '[verifier]\nenvironment_mode = "separate"\n[[verifier.collect]]\ncommand = "dump"',
            "needs commands before its artifacts are collected",
        ),
    ],
)
def test_what_is_not_supported_has_a_reason(tmp_path: Path, toml: str, reason: str) -> None:
    folder = write_task(tmp_path / "t", toml="" if toml == "compose" else toml)
    if toml == "compose":
        (folder / "environment" / "docker-compose.yaml").write_text("services: {}\n")
    with pytest.raises(Unsupported, match=reason):
        read_task(folder).check_supported(folder)


PATH = "a path without '..', such as 'out' in the working directory, or '/app/out'"


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("metadata = 3", "metadata must be a table, not 3"),
        (
            '[metadata]\ntags = "a b"',
            """metadata.tags must be a list of strings such as ["a", "b"], not the string 'a b'; write ["a", "b"]""",
        ),
        ("[metadata]\ntags = [1]", 'metadata.tags must be a list of strings such as ["a", "b"], not [1]'),
        ("[metadata]\ndifficulty = 2", "metadata.difficulty must be a string, not 2"),
        ("[agent]\ntimeout_sec = -1", "agent.timeout_sec must be a finite number greater than 0, not -1"),
        ("[agent]\ntimeout_sec = true", "agent.timeout_sec must be a finite number greater than 0, not True"),
        ("[agent]\ntimeout_sec = nan", "agent.timeout_sec must be a finite number greater than 0, not nan"),
        ("[agent]\nuser = true", "agent.user must be a user's name or number, not True"),
        (
            '[agent]\nnetwork_mode = "off"',
            "agent.network_mode must be 'no-network' or 'public' or 'allowlist', not 'off'",
        ),
        ("[solution]\nenv = {PORT = 80}", "solution.env['PORT'] must be a string, not 80"),
        ('[verifier.env]\n"A=B" = "x"', "verifier.env: each name must be a name without '=', not 'A=B'"),
        ('[verifier]\nprocesses = "kill"', "verifier.processes must be 'keep' or 'end', not 'kill'"),
        ('[verifier]\nreward = "exit code"', "verifier.reward must be 'file' or 'exit_code', not 'exit code'"),
        (
            '[verifier]\nenvironment_mode = "separate"\nprocesses = "keep"',
            (
                'verifier.processes = "keep" contradicts environment_mode = "separate": '
                "what the agent left running does not run in another container"
            ),
        ),
        (
            '[environment]\nmemory = "much"',
            "environment.memory 'much' is not a size; write bytes or a string such as '512m' or '2g'",
        ),
        ("[environment]\nmemory_mb = 0", "environment.memory_mb must be a whole number of at least 1, not 0"),
        ("[environment]\nstorage_mb = 1.5", "environment.storage_mb must be a whole number of at least 1, not 1.5"),
        ("[environment]\ncpus = inf", "environment.cpus must be a finite number greater than 0, not inf"),
        ("[environment]\ngpus = -1", "environment.gpus must be a whole number of at least 0, not -1"),
        ('[environment]\nallow_internet = "no"', "environment.allow_internet must be true or false, not 'no'"),
        ('[environment]\nworkdir = "app"', "environment.workdir must be an absolute path such as '/app', not 'app'"),
        ("[environment]\ndocker_image = 3", "environment.docker_image must be the name of an image, not 3"),
        ("[environment]\nhealthcheck = 3", "environment.healthcheck must be a table, not 3"),
        ("steps = 3", "steps must be a list, not 3"),
        ('artifacts = "a"', "artifacts must be a list of paths, not 'a'"),
        ("artifacts = [3]", "artifacts[0] must be a path or a table with a `source`, not 3"),
        (
            'artifacts = ["out", "../../etc"]',
            f"artifacts[1] must be {PATH}, not '../../etc'",
        ),
        (
            'artifacts = [{source = "/app/../etc"}]',
            f"artifacts[0].source must be {PATH}, not '/app/../etc'",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_one_line_that_names_the_key(tmp_path: Path, toml: str, problem: str) -> None:
    folder = write_task(tmp_path / "t", toml=toml)
    with pytest.raises(DatasetError) as caught:
        read_task(folder)
    assert str(caught.value) == f"{folder}/task.toml: {problem}"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "t", toml="[agent\n")
    with pytest.raises(DatasetError, match=r"^cannot read .*/t/task.toml: Expected ']'"):
        read_task(folder)
    (folder / "task.toml").write_bytes(b'[metadata]\ncategory = "\xff"\n')
    with pytest.raises(DatasetError, match=r"^cannot read .*/t/task.toml: 'utf-8' codec"):
        read_task(folder)
    # As editors on Windows write it.
    (folder / "task.toml").write_bytes(b'\xef\xbb\xbf[metadata]\r\ncategory = "files"\r\n')
    assert read_task(folder).metadata.category == "files"


_TOML = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(section=st.sampled_from(["metadata", "agent", "verifier", "environment", "solution", ""]), data=st.data())
def test_whatever_a_value_is_it_is_read_or_refused_in_one_line(section: str, data: st.DataObject) -> None:
    keys = st.sampled_from(sorted((TASK_TOML.get(section) if section else TASK_TOML) or METADATA))
    table = data.draw(st.dictionaries(keys, _TOML, max_size=3))
    problem, notes = "", tuple[str, ...]()
    try:
        notes = parse_task({section: table} if section else table).notes
    except ValueError as error:
        problem = str(error)
    assert not problem or re.match(section or "|".join(TASK_TOML), problem)
    assert all(len(line.splitlines()) <= 1 for line in (problem, *notes))


@pytest.mark.parametrize(
    ("toml", "key", "meant"),
    [
        ("[agent]\ntimout_sec = 3", "agent.timout_sec", "agent.timeout_sec"),
        ("[verifier]\ntimeout = 3", "verifier.timeout", "verifier.timeout_sec"),
        ("[enviroment]\ncpus = 1", "enviroment", "environment"),
        ("[environment]\ncpu = 1", "environment.cpu", "environment.cpus"),
        ('docker_image = "x"', "docker_image", "environment.docker_image"),
        (
            '[environment.healthcheck]\ncomand = "x"',
            "environment.healthcheck.comand",
            "environment.healthcheck.command",
        ),
        ('[[steps]]\nname = "a"\n[[steps]]\nnam = "b"', "steps[1].nam", "steps[1].name"),
        ('[metadata]\ndificulty = "easy"', "metadata.dificulty", "metadata.difficulty"),
        ("[other]\na = 1", "other", None),
        ('"a\\nb" = 1', r"'a\nb'", None),
    ],
)
def test_a_key_without_a_meaning_is_noted(tmp_path: Path, toml: str, key: str, meant: str | None) -> None:
    (note,) = read_task(write_task(tmp_path / "t", toml=toml)).notes
    hint = "" if meant is None else f"; did you mean {meant}?"
    assert note == f"task.toml: the key {key} is not known and has no effect{hint}"


def test_authors_may_add_to_what_they_say_about_a_task(tmp_path: Path) -> None:
    toml = '[metadata]\nauthor_name = "A"\ntag = "x"\ntags = []\n[verifier.env]\nANY = "x"\n'
    assert read_task(write_task(tmp_path / "t", toml=toml)).notes == ()


def test_what_a_task_asks_of_its_verifier(tmp_path: Path) -> None:
    write_task(tmp_path / "asks", toml='[verifier]\nprocesses = "keep"\nreward = "exit_code"\n')
    write_task(tmp_path / "asks-nothing")
    (asks, nothing), _ = folder_tasks(tmp_path)
    assert asks.verifier == VerifierSpec(processes="keep", reward="exit_code")
    assert nothing.verifier == VerifierSpec() == VerifierSpec(processes=None, reward="file")
    materials = [task.metadata["material"] for task in (asks, nothing)]
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

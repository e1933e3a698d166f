"""Every example runs, as its first lines say, where nothing but this package is installed beside pytest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

#: What is run by pytest, and what it must say; scripts are run by Python.
SESSIONS = {
    "greetings.py": (["--hermes-bench=greetings.py:Greetings"], "2 passed"),
    "test_with_an_agent.py": (["test_with_an_agent.py"], "2 passed"),
    "own_toolset": (["own_toolset"], "2 passed"),
    "own_sandbox": (["own_sandbox", "--hermes-sandbox=audited"], "1 passed"),
}
SCRIPTS = ["run_from_a_script.py"]


def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "OPENAI_"))}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy: nothing here configures it, and it may write where it is."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "examples" / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return tmp_path / "examples"


def test_all_are_here() -> None:
    there = {path.name for path in EXAMPLES.iterdir() if path.name != "__pycache__"}
    assert there == {*SESSIONS, *SCRIPTS}


@pytest.mark.parametrize("name", SESSIONS)
def test_an_example_passes(name: str, folder: Path) -> None:
    arguments, passed = SESSIONS[name]
    pytest_alone = (sys.executable, "-m", "pytest", "-p", "no:asyncio", "-p", "no:anyio", "-p", "no:hypothesispytest")
    done = run(folder, *pytest_alone, "--hermes-model=oracle", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert passed in done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs(name: str, folder: Path) -> None:
    done = run(folder, sys.executable, "-W", "error", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("passed   reward 1.0") == 4
    wrong = run(folder, sys.executable, name, "tiny")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: no endpoint for model 'tiny': ")
    assert wrong.stderr.count("\n") == 1

"""The benchmark swe: what its tests let pass, and rows it can do nothing with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_hermes.benchmarks.swe import Swe
from pytest_hermes.benchmarks.swe.rows import read_tasks
from pytest_hermes.errors import UsageError
from pytest_hermes.result import AgentResult
from pytest_hermes.task import Task
from pytest_hermes.tools.context import ToolContext
from tests.services import run_api
from tests.services.required import require


def read(tmp_path: Path, *rows: dict[str, Any]) -> list[Task]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks: list[Task] = read_tasks(path, "rows.jsonl", "prompt")
    return tasks


@pytest.fixture
def ctx() -> Iterator[ToolContext]:
    ctx = ToolContext("swe")
    yield ctx
    ctx.cleanup()


def reward(ctx: ToolContext, task: Task, program: str) -> float:
    ctx.terminal("rm -rf * .hermes*")
    ctx.write_file("solution.py", program)
    value: float = asyncio.run(Swe().compute_reward(task, AgentResult(), ctx))
    return value


def test_only_tests_that_ran_to_their_end_count(tmp_path: Path, ctx: ToolContext) -> None:
    forms: list[dict[str, Any]] = [
        {"test": "def check(candidate):\n    assert candidate(2) == 4\n", "entry_point": "double"},
        {"test": "def check(candidate):\n    assert candidate(2) == 4\ncheck(double)", "entry_point": "double"},
        {"test_code": "def test_two():\n    assert double(2) == 4"},
        {"tests": ["assert double(2) == 4", "assert double(0) == 0"]},
        {"tests": "async def test_two():\n    assert double(2) == 4"},
        {
            "tests": "class TestDouble:\n    def setup_method(self):\n        self.two = 2\n"
            "    def test_two(self):\n        assert double(self.two) == 4"
        },
        {"tests": "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        assert double(2) == 4"},
    ]
    tasks = read(tmp_path, *({"id": str(n), "prompt": "Write double.", **form} for n, form in enumerate(forms)))
    for task in tasks:
        assert reward(ctx, task, "def double(n):\n    return 2 * n\n") == 1.0, task.metadata
        assert reward(ctx, task, "def double(n):\n    return n\n") == 0.0, task.metadata
    task = tasks[3]
    for program in (
        "import os\nos._exit(0)",
        "raise SystemExit(0)",
        "def double(n):\n    raise SystemExit(0)",
        "def double(n:",
        "",
    ):
        assert reward(ctx, task, program) == 0.0, program
    # What a program does when it is started as one is not run.
    assert reward(ctx, task, "def double(n):\n    return 2 * n\nif __name__ == '__main__':\n    input()") == 1.0
    assert ctx.terminal("ls -A")["output"].split() == ["solution.py"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "Go."}, "row 1 of rows.jsonl has none of the fields test, test_code, tests"),
        ({"test": "assert True"}, "row 1 of rows.jsonl has no 'prompt'; env.prompt_field names"),
        ({"prompt": "Go.", "test": "assert (f(1) === 2);"}, "its tests are not Python"),
        ({"prompt": "Go.", "test": "def test_it(tmp_path, n=1): pass"}, "its test test_it takes arguments, but"),
    ],
)
def test_a_row_without_what_it_needs_is_told(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError) as error:
        read(tmp_path, row)
    assert problem in str(error.value)


def test_the_sample_makes_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require("atropos", run_api.problem())
    from pytest_hermes.atropos.main import main

    monkeypatch.chdir(tmp_path)
    made = ("swe", "process", "--env.group_size", "1", "--env.data_path_to_save_groups")
    assert main((*made, "oracle.jsonl", "--openai.model_name", "oracle")) == 0, capsys.readouterr().err
    assert main((*made, "nop.jsonl", "--openai.model_name", "nop")) == 0
    rewards = {
        name: [json.loads(line)["reward"] for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("oracle", "nop")
    }
    assert rewards == {"oracle": [1.0] * 6, "nop": [0.0] * 6}

    row = {
        "task_id": "Python/0",
        "prompt": "def one():\n",
        "canonical_solution": "    return 1\n",
        "test": "assert one() == 1",
    }
    (tmp_path / "more.jsonl").write_text(json.dumps(row))
    more = ("--env.dataset_name", "more.jsonl", "--openai.model_name", "oracle", "--env.terminal_backend", "local")
    assert main((*made, "more-out.jsonl", *more)) == 0, capsys.readouterr().err
    line = json.loads((tmp_path / "more-out.jsonl").read_text())
    assert (line["task"], line["reward"]) == ("Python/0", 1.0)

"""What is known of the tasks of TerminalBench 2 before anything runs: 89 of them, in the shapes of the real ones."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from tests.services.bench import Bench
from tests.services.rows import archive, write_jsonl, write_task

LIST = ("--hermes-bench=terminalbench_2", "--hermes-dataset=tasks", "--hermes-list")
COUNT = 89

TOML = """\
version = "1.0"
[metadata]
author_name = "A"
author_email = "a@example.com"
difficulty = "{difficulty}"
category = "software-engineering"
tags = ["coding", "c"]
expert_time_estimate_min = 60.0
junior_time_estimate_min = 480.0
[verifier]
timeout_sec = 900.0
[agent]
timeout_sec = {seconds}
[environment]
build_timeout_sec = 600.0
docker_image = "example/task-{number}:20251031"
cpus = {cpus}
memory = "2G"
storage = "10G"
"""

#: By task: what is added to its `task.toml`, and how it would end.
SPECIAL = {
    "task-03": ("gpus = 1\n", "*skipped: the task needs a GPU, which is not supported"),
    "task-07": (
        '[verifier.env]\nKEY = "${HERMES_TEST_KEY}"\n',
        "*skipped: the task needs the environment variable HERMES_TEST_KEY, which is not set",
    ),
    "task-11": (
        'workdir = "app"\n',
        "error (dataset): */task-11/task.toml: environment.workdir must be an absolute path such as '/app', not 'app'",
    ),
    "task-12": ('[[steps]]\nname = "a"\n', "*skipped: the task has several steps, which is not supported"),
    "task-40": ('os = "windows"\n', "*skipped: the task needs windows, which is not supported"),
}
MENDED = "was saved with Windows line ends or a byte order mark; pytest-hermes corrects this"


@pytest.fixture
def directories(bench: Bench) -> Path:
    for number in range(COUNT):
        name = f"task-{number:02}"
        difficulty = ("easy", "medium", "hard")[number % 3]
        toml = TOML.format(number=number, difficulty=difficulty, seconds=600.0 + number, cpus=1 + number % 2)
        write_task(
            bench.path / "tasks" / name,
            toml=toml + SPECIAL.get(name, ("", ""))[0],
            dockerfile="FROM debian\n",
            solution="true\n",
            test="#!/bin/bash\r\ntrue\r\n" if number in (20, 21, 22, 23) else "#!/bin/bash\ntrue\n",
        )
    (bench.path / "tasks" / "shared").mkdir()
    return bench.path / "tasks"


@pytest.fixture
def no_engine(bench: Bench) -> None:
    bench.env(DOCKER_HOST="unix:///nowhere/docker.sock")


def listed(bench: Bench, *arguments: str) -> tuple[str, dict[str, str], list[str]]:
    """Return the first line of a list, what it says of each task, and its other lines."""
    result = bench.run_inside(*arguments)
    assert result.ret == 0
    title, *lines = [line.strip() for line in result.outlines if line]
    tasks = [line.partition(" ") for line in lines if line.startswith("task-")]
    others = [line for line in lines if not line.startswith("task-")]
    return title, {name: said.strip() for name, _, said in tasks}, others


def test_every_directory_is_listed_with_its_reason(bench: Bench, directories: Path, no_engine: None) -> None:
    title, tasks, (unknown, *notes) = listed(bench, *LIST, "-v")
    assert title == "terminalbench_2: 89 tasks, 4 would be skipped, 1 would end in an error"
    assert len(tasks) == COUNT
    for name, said in tasks.items():
        if name in SPECIAL:
            assert fnmatch(said, SPECIAL[name][1])
        else:
            assert re.fullmatch(r"software-engineering, (easy|medium|hard), coding, c", said)
    # What only the engine knows is not guessed.
    assert unknown.startswith("what the sandbox lacks is not known: there is no Docker engine at unix:///nowhere/")
    assert notes == [
        "note: there is no task in 'shared'",
        f"note: task-20, task-21, task-22 and 1 more: tests/test.sh {MENDED}",
    ]
    title, tasks, others = listed(bench, *LIST)
    assert (title, len(tasks), others) == ("terminalbench_2: 89 tasks", COUNT, notes)
    assert not any("skipped" in said for said in tasks.values())


def test_the_needs_that_a_sandbox_cannot_meet(bench: Bench, directories: Path) -> None:
    title, tasks, _ = listed(bench, *LIST, "-v", "--hermes-sandbox=local", "--hermes-task=task-0*")
    assert title == "terminalbench_2: 10 tasks, 10 would be skipped"
    assert tasks["task-01"].endswith(
        "skipped: the local sandbox cannot run image 'example/task-1:20251031'; use --hermes-sandbox=docker"
    )


def test_every_row_is_listed_with_its_reason(bench: Bench, no_engine: None) -> None:
    rows: list[dict[str, Any]] = [
        {
            "task_name": f"task-{number:02}",
            "instruction": "Do it.",
            "docker_image": f"example/task-{number}:20251031",
            "category": "software-engineering",
            "environment_tar": archive({"Dockerfile": "FROM debian\n"}),
            "tests_tar": archive({"test_outputs.py": "def test(): pass\n"}),
            "test_sh": "#!/bin/bash\ntrue\n",
        }
        for number in range(COUNT)
    ]
    rows[5]["tests_tar"] = "no archive"
    rows[6]["test_sh"] = 3
    rows[7] |= {"docker_image": None, "environment_tar": archive({"README": ""})}
    rows[8]["test_sh"] = "#!/bin/bash\r\ntrue\r\n"
    write_jsonl(bench.path / "tasks.jsonl", rows)
    arguments = ("--hermes-bench=terminalbench_2", "--hermes-dataset=tasks.jsonl", "--hermes-list", "-v")
    title, tasks, (_, *notes) = listed(bench, *arguments)
    assert title == "terminalbench_2: 89 tasks, 3 would end in an error"
    for number, problem in {5: "'tests_tar': it is not base64", 6: "'test_sh' is not", 7: "'environment_tar':"}.items():
        assert f"error (dataset): row {number + 1} of tasks.jsonl: column {problem}" in tasks[f"task-{number:02}"]
    assert notes == [f"note: task-08: test_sh {MENDED}"]
    # Rows have no solutions.
    title, _, _ = listed(bench, *arguments, "--hermes-validate")
    assert title == "terminalbench_2: 89 tasks, 86 would be skipped, 3 would end in an error"


def test_the_header_has_the_first_notes(bench: Bench, directories: Path) -> None:
    for number in range(6):
        toml = directories / f"task-5{number}" / "task.toml"
        toml.write_text(f"{toml.read_text()}cpuz{number} = 3\n")
    result = bench.run_inside(
        *LIST[:2], "--hermes-sandbox=local", "--hermes-model=nop", "--hermes-run-dir=out", "--hermes-task=task-[25]*"
    )
    result.assert_outcomes(skipped=20)
    unknown = "is not known and has no effect; did you mean environment.cpus?"
    assert [line for line in result.outlines if line.startswith("hermes: terminalbench_2: ")] == [
        "hermes: terminalbench_2: there is no task in 'shared'",
        f"hermes: terminalbench_2: task-20, task-21, task-22 and 1 more: tests/test.sh {MENDED}",
        *(f"hermes: terminalbench_2: task-5{n}: task.toml: the key environment.cpuz{n} {unknown}" for n in range(3)),
    ]
    assert "hermes: 3 more notes: --hermes-list shows all" in result.outlines


MODULE = """
import pytest
from pytest_hermes import Benchmark, SandboxSpec, Task, Unsupported

class M(Benchmark):
    name = "m"
    notes = ("beware",)

    def tasks(self):
        return [Task(id=name, prompt="", notes=["odd"]) for name in NAMES]

    async def sandbox(self, item):
CASES
        return SandboxSpec()

    async def compute_reward(self, item, result, ctx):
        return 1.0
"""

CASES = {
    "unsupported": ("raise Unsupported('the task needs a moon')", "skipped: the task needs a moon"),
    "skip": ("pytest.skip('not today')", "skipped: not today"),
    "error": ("1 / 0", "error (setup): sandbox raised ZeroDivisionError: division by zero"),
    "exit": ("pytest.exit('the lab closes')", "end of the run: sandbox ended the run: the lab closes"),
    "nothing": ("return None", "error (setup): sandbox returned None; it must return a SandboxSpec"),
}


def test_a_benchmark_of_ones_own_says_what_would_end_its_tasks(bench: Bench) -> None:
    cases = "\n".join(f"        if item.id == {name!r}: {code}" for name, (code, _) in CASES.items())
    bench.file("m.py", MODULE.replace("CASES", cases).replace("NAMES", str(["fine", *CASES])))
    arguments = ("--hermes-bench=m.py:M", "--hermes-list", "-v")
    result = bench.run_inside(*arguments)
    assert result.ret == 0
    assert [line for line in result.outlines if line] == [
        "m: 6 tasks, 2 would be skipped, 2 would end in an error, 1 would end the run",
        "  fine",
        *(f"  {name:<11}  {said}" for name, (_, said) in CASES.items()),
        "  note: beware",
        "  note: fine, unsupported, skip and 3 more: odd",
    ]
    oracle = bench.run_inside(*arguments, "--hermes-model=oracle")
    oracle.stdout.fnmatch_lines(["  fine *skipped: the task has no reference solution for the oracle to play *"])


def test_notes_are_texts(bench: Bench) -> None:
    module = MODULE.replace("CASES", "").replace("NAMES", "['a']")
    bench.file("m.py", module.replace('("beware",)', '"beware"'))
    result = bench.run_inside("--hermes-bench=m.py:M", "--hermes-list")
    result.stderr.fnmatch_lines(["ERROR: benchmark 'm': M.notes (m.py:5) must be strings *, not the string 'beware'"])

"""Modes in which tasks are verified: chosen, validated, remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.sandbox.backends import need
from tests.services.bench import Bench
from tests.services.rows import write_task

DOCKERFILE = "FROM hermes-test\nWORKDIR /app\n"
REWARD = "if {}; then echo 1; else echo 0; fi > /logs/verifier/reward.txt\n"
#: A file, which lasts in any mode; a server, which lasts in `same`; a program, which lasts in the agent's sandbox; and
#: one that passes at times.
TASKS = {
    "file": ("echo 42 > answer", "[ -e answer ]"),
    "server": ("sleep 1000 & echo $! > pid", 'kill -0 "$(cat pid)"'),
    "program": ("printf '#!/bin/sh\\n' > /usr/bin/mine; chmod +x /usr/bin/mine", "mine"),
    "never": ("true", "false"),
}
BENCH = ("--hermes-bench=terminalbench_2", "--hermes-dataset=tasks", "-n4", "--hermes-run-dir=out")


@pytest.fixture
def tasks(bench: Bench, docker_image: str) -> Path:
    need("docker")
    for name, (solution, passes) in TASKS.items():
        write_task(
            bench.path / "tasks" / name,
            toml='[verifier]\nenvironment_mode = "separate"\n' if name == "program" else "",
            dockerfile=DOCKERFILE.replace("hermes-test", docker_image),
            test=REWARD.format(passes),
            solution=f"#!/bin/sh\n{solution}\n",
        )
    bench.env(PYTEST_HERMES_CACHE_DIR=str(bench.path / "cache"))
    return bench.path / "tasks"


def test_validation_says_in_which_modes_each_solution_passes_and_later_runs_know(bench: Bench, tasks: Path) -> None:
    result = bench.run_inside(*BENCH, "--hermes-validate", "--hermes-verifier=all")
    result.stdout.fnmatch_lines(
        [
            "sound         3 of 4 tasks: the oracle passes in some mode, and nop does not",
            "same          the oracle passes 3 of 4 tasks; fails in never",
            "strict        the oracle passes 2 of 4 tasks; fails in never, server",
            "fresh         the oracle passes 1 of 4 tasks; fails in never, program, server",
            "both          the oracle passes 2 of 4 tasks; fails in never, server",
            "oracle fails  never",
            "kept          cache/verifier-modes/terminalbench_2.json: later runs skip tasks whose own solution *",
        ]
    )
    kept = json.loads((bench.path / "cache/verifier-modes/terminalbench_2.json").read_text())
    assert len(kept) == 4
    assert all(set(backends) == {"docker"} for backends in kept.values())

    result = bench.run_inside(*BENCH, "--hermes-model=oracle", "--hermes-verifier=strict")
    result.assert_outcomes(passed=2, skipped=2)
    result.stdout.fnmatch_lines(
        [
            "hermes: --hermes-verifier=strict overrides what 1 task of terminalbench_2 asked for",
            "skipped   2 of 4: its own solution does not pass with --hermes-verifier=strict on docker, *",
        ]
    )
    # A task whose solution does not survive `both` is verified in `same`.
    result = bench.run_inside(*BENCH, "--hermes-model=oracle", "--hermes-verifier=both")
    result.assert_outcomes(passed=3, skipped=1)
    result.stdout.fnmatch_lines(
        ["hermes: mode same alone for 1 task of terminalbench_2, whose own solution fails in both"]
    )
    records = [record for record in bench.records() if record["verifier"] and record["status"] == "passed"]
    modes = {record["task"]: record["verifier"]["mode"] for record in records if record["model"] == "oracle"}
    assert modes == {"file": "both", "server": "same", "program": "both"}
    # One that is changed is another task.
    (tasks / "never" / "tests" / "test.sh").write_text(f"#!/bin/sh\n{REWARD.format('true')}")
    result = bench.run_inside(*BENCH, "--hermes-model=oracle", "--hermes-task=never")
    result.assert_outcomes(passed=1)


TURNS = """
from pytest_hermes import Benchmark, Task

class Turns(Benchmark):
    name = "turns"
    passed = 0

    def tasks(self):
        return [Task(id=id, prompt="p", solution="touch made") for id in ("steady", "flaky")]

    async def compute_reward(self, item, result, ctx):
        made = ctx.terminal("ls made")["exit_code"] == 0
        if item.id == "flaky" and made:
            self.passed += 1
        return float(made and (item.id == "steady" or self.passed % 2))
"""


def test_what_disagrees_with_itself_is_listed(bench: Bench) -> None:
    bench.file("turns.py", TURNS)
    arguments = ("--hermes-bench=turns.py:Turns", "--hermes-run-dir=out")
    result = bench.run_inside(*arguments, "--hermes-validate=2")
    result.stdout.fnmatch_lines(
        [
            "sound         1 of 2 tasks: the oracle passes, and nop does not",
            "flaky         flaky",
            "*leave out the flaky ones with --hermes-skip-task=@out/flaky-turns.txt",
        ]
    )
    more = (*arguments, "--hermes-model=oracle")
    result = bench.run_inside(*more, "--hermes-skip-task=@out/flaky-turns.txt")
    result.assert_outcomes(passed=1)
    result = bench.run_inside(*more, "--hermes-skip-task=@missing.txt")
    result.stderr.fnmatch_lines(["ERROR: *cannot read the tasks in missing.txt: No such file or directory"])


LEFT = """
from pytest_hermes import Benchmark, Task, VerifierSpec

class Left(Benchmark):
    name = "left"

    def tasks(self):
        for processes in (None, "keep", "end"):
            solution = "sleep 1000 & echo $! > pid"
            yield Task(id=str(processes), prompt="p", solution=solution, verifier=VerifierSpec(processes=processes))

    async def compute_reward(self, item, result, ctx):
        return float(ctx.terminal("kill -0 $(cat pid)")["exit_code"] == 0)
"""


def test_a_benchmark_of_python_code_says_what_becomes_of_processes(bench: Bench) -> None:
    bench.file("left.py", LEFT)
    result = bench.run_inside("--hermes-bench=left.py:Left", "--hermes-run-dir=out", "--hermes-model=oracle")
    result.assert_outcomes(passed=2, failed=1)
    assert {record["task"]: record["reward"] for record in bench.records()} == {"None": 1.0, "keep": 1.0, "end": 0.0}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--hermes-verifier=all",), "--hermes-verifier=all needs --hermes-validate*"),
        (("--hermes-verifier=other",), "--hermes-verifier='other': must be 'same' or 'strict' or *"),
        (("--hermes-validate=0",), "--hermes-validate='0': must be a whole number of at least 1 *"),
        (
            ("--hermes-validate", "here"),
            "--hermes-validate='here': *; to give a path as well, write --hermes-validate=1",
        ),
    ],
)
def test_a_wrong_use_gets_one_line(bench: Bench, arguments: tuple[str, ...], why: str) -> None:
    result = bench.run_inside("--hermes-bench=terminal_test", "--hermes-model=oracle", *arguments)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: {why}"])

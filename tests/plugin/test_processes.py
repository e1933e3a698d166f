"""`--hermes-procs M -n N`: N rollouts in flight, spread over M processes."""

from __future__ import annotations

import signal
import time
import uuid

import pytest

from tests.plugin.test_with_pytest import SLEEPS, SLEEPS_ARGS
from tests.services.bench import Bench, processes_with

#: Notes who enumerated and what was run where; the first attempt at `t5` takes its worker down with it.
SPREAD = """
import os, pathlib, time
from pytest_hermes import Benchmark, Task

HERE = pathlib.Path(__file__).parent

def note(text):
    with open(HERE / "notes", "a") as file:
        file.write(text + "\\n")

class Spread(Benchmark):
    name = "spread"
    default_model = "oracle"

    async def setup(self):
        note(f"setup {os.getpid()}")

    def tasks(self):
        for i in range(24):
            yield Task(id=f"t{i}", prompt="", solution=f"sleep 0.1; sleep {0.1 * (i % 3)}", metadata={"i": i})

    async def compute_reward(self, item, result, ctx):
        note(f"ran {item.id} {os.getpid()}")
        if item.id == "t5" and CRASH >= (HERE / "notes").read_text().count("ran t5"):
            ctx.terminal("sleep 0.5")
            os.kill(os.getpid(), 9)
        return 1.0
"""


def notes(bench: Bench) -> list[list[str]]:
    return [line.split() for line in (bench.path / "notes").read_text().splitlines()]


@pytest.fixture
def spread(bench: Bench) -> tuple[str, ...]:
    bench.file("spread.py", "CRASH = 0\n" + SPREAD)
    return ("--hermes-bench=spread.py:Spread", "--hermes-run-dir=out", "--hermes-procs=2")


def test_the_tasks_are_enumerated_once_and_run_in_both_processes(bench: Bench, spread: tuple[str, ...]) -> None:
    result = bench.run(*spread, "-n8")
    result.assert_outcomes(passed=24)
    result.stdout.fnmatch_lines(
        [
            "hermes: sandbox local (*), 8 rollouts in flight in 2 processes",
            "score     1.000*n = 24)",
            "results   out/results.jsonl",
        ]
    )
    setups = [note for note in notes(bench) if note[0] == "setup"]
    runs = [note for note in notes(bench) if note[0] == "ran"]
    assert len(setups) == 1
    assert len({pid for _, _, pid in runs}) == 2
    assert setups[0][1] not in {pid for _, _, pid in runs}
    records = bench.records()
    assert sorted(record["task"] for record in records) == sorted(f"t{i}" for i in range(24))
    assert len({record["run_id"] for record in records}) == 1


@pytest.mark.parametrize("n", ["auto", "logical"])
def test_with_a_number_of_its_own_choice(bench: Bench, spread: tuple[str, ...], n: str) -> None:
    bench.run_inside(*spread, "-n", n).assert_outcomes(passed=24)


def test_a_worker_that_dies_costs_only_what_it_had_in_flight(bench: Bench, spread: tuple[str, ...]) -> None:
    bench.file("spread.py", "CRASH = 1\n" + SPREAD)
    result = bench.run(*spread, "-n6")
    assert result.parseoutcomes()["passed"] == 24
    assert result.ret == 0
    assert sorted(record["task"] for record in bench.records()) == sorted(f"t{i}" for i in range(24))
    runs = [task for kind, task, *_ in notes(bench) if kind == "ran"]
    assert runs.count("t5") == 2
    # At most the three in flight of the worker that died were begun twice.
    assert len(runs) - 24 <= 3


def test_an_item_that_always_kills_its_worker_is_given_up(bench: Bench, spread: tuple[str, ...]) -> None:
    bench.file("spread.py", "CRASH = 99\n" + SPREAD)
    result = bench.run(*spread, "-n6", "--hermes-task=t4,t5,t6,t7,t8")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert sorted(record["task"] for record in bench.records()) == ["t4", "t6", "t7", "t8"]
    assert [task for kind, task, *_ in notes(bench) if kind == "ran"].count("t5") == 3
    result.stdout.fnmatch_lines(["*crashed while running 'spread::test_task?t5?'*"])


def test_exit_first(bench: Bench) -> None:
    bench.file("sleeps.py", SLEEPS)
    result = bench.run(*SLEEPS_ARGS, "-n4", "--hermes-procs=2", "-x")
    assert result.parseoutcomes()["failed"] >= 1
    assert result.ret != 0
    assert len(bench.records()) < 10


def test_what_a_killed_run_left_is_removed_by_the_next(bench: Bench, spread: tuple[str, ...]) -> None:
    """The folder that its processes shared; workers themselves go when their controller does."""
    folder = bench.path / "tmp"
    folder.mkdir()
    bench.env(TMPDIR=str(folder))
    bench.file("sleeps.py", SLEEPS.replace("sleep {(9 - i) / 10}", "sleep 300"))
    process = bench.start(*SLEEPS_ARGS, "-n2", "--hermes-procs=2")
    deadline = time.monotonic() + 30
    while not (left := list(folder.glob("hermes-*/gw?.json"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=30)
    assert left[0].exists()
    bench.run(*spread, "-n2", "--hermes-task=t0").assert_outcomes(passed=1)
    assert not left[0].parent.exists()
    assert list(folder.glob("hermes-*")) == []


def test_interrupted(bench: Bench) -> None:
    marker = str(uuid.uuid4().int)[:12]
    bench.file("sleeps.py", SLEEPS.replace("sleep {(9 - i) / 10}", f"sleep {{0.1 if i < 4 else 300}}.{marker}"))
    process = bench.start(*SLEEPS_ARGS, "-n8", "--hermes-procs=2")
    deadline = time.monotonic() + 30
    while not ((bench.path / "out" / "results.jsonl").exists() and len(bench.records()) >= 3):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert "of 10 attempts did not finish and are not counted" in output
    deadline = time.monotonic() + 5
    while processes_with(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_with(marker) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-n2", "--hermes-procs=3"), "--hermes-procs=3 is more than the 2 rollouts in flight; also raise -n"),
        (("--hermes-procs=2", "-p", "no:xdist"), "--hermes-procs needs pytest-xdist, which is not active"),
    ],
)
def test_what_cannot_be_had_is_said(bench: Bench, arguments: tuple[str, ...], message: str) -> None:
    result = bench.run_inside("--hermes-bench=terminal_test", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


def test_items_that_cannot_be_pickled_are_named(bench: Bench) -> None:
    bench.file("spread.py", "CRASH = 0\n" + SPREAD.replace('{"i": i}', '{"i": lambda: i}'))
    result = bench.run_inside("--hermes-bench=spread.py:Spread", "--hermes-procs=2")
    result.stderr.fnmatch_lines(["ERROR: --hermes-procs needs items that can be pickled: *"])


def test_collect_only_and_failures_are_as_in_one_process(bench: Bench) -> None:
    bench.file("sleeps.py", SLEEPS)
    result = bench.run_inside(*SLEEPS_ARGS, "--hermes-procs=2", "--co", "-q")
    assert sum("sleeps::test_task[" in line for line in result.outlines) == 10
    result = bench.run_inside(*SLEEPS_ARGS, "--hermes-procs=2", "-n8")
    result.assert_outcomes(passed=5, failed=5)
    result.stdout.fnmatch_lines(["reward 0 is below the threshold 1; 2 turns, the agent finished"])

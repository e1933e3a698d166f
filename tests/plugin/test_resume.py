"""Going on with a run: what is finished is reported, the rest runs, once."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from typing import Any

import pytest

from tests.services.bench import Bench

SLOW = """
import asyncio, pathlib
from pytest_hermes import Benchmark, InfrastructureError, Task

class Slow(Benchmark):
    name = "slow"
    default_model = "oracle"
    revision = "r1"

    def tasks(self):
        return [Task(id=f"t{n}", prompt="p", solution="true") for n in range(30)]

    async def compute_reward(self, item, result, ctx):
        with pathlib.Path("log").open("a") as log:
            log.write(item.id + "\\n")
        await asyncio.sleep(PAUSE)
        if item.id == "t3" and not pathlib.Path("mended").exists():
            raise InfrastructureError("out of order", kind="test")
        return float(item.id != "t4")
"""
SLOW_BENCH = "--hermes-bench=slow.py:Slow"
FAST = SLOW.replace("PAUSE", "0")
TEMPERATURE = "--hermes-set=env.agent_temperature=0.5"
TOKEN_LENGTH = "--hermes-set=env.max_token_length=99"


def statuses(bench: Bench) -> dict[str, str]:
    return {record["task"]: record["status"] for record in bench.records()}


@pytest.mark.parametrize("procs", [(), ("--hermes-procs=2",)], ids=["one", "two"])
def test_a_killed_run_goes_on_where_it_was(bench: Bench, procs: tuple[str, ...]) -> None:
    bench.file("slow.py", SLOW.replace("PAUSE", "0.25"))
    arguments = (SLOW_BENCH, "-n4", *procs)
    process = bench.start(*arguments, "--hermes-run-dir=out", "--color=no")
    results = bench.path / "out" / "results.jsonl"
    end = time.monotonic() + 60
    while not results.exists() or results.read_bytes().count(b"\n") < 5:
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with results.open("ab") as file:  # what a kill in the middle of a write leaves
        file.write(b'{"schema_version": 1, "run_id": "')
    # The workers of a killed run may still be at work: nothing starts before they have ended.
    result = bench.run(*arguments, "--hermes-resume=out")
    finished = next(line for line in result.outlines if line.startswith("hermes: resuming out: "))
    number = int(finished.split(": ")[2].split()[0])
    assert 5 <= number < 30
    result.assert_outcomes(passed=28, failed=1, errors=1)
    result.stdout.fnmatch_lines(["passed    28 of 29 *", "errors    1 (test 1)*"])
    records = [json.loads(line) for line in results.read_bytes().splitlines() if line.endswith(b"}")]
    assert Counter(record["task"] for record in records) == {f"t{n}": 1 for n in range(30)}
    assert len({record["run_id"] for record in records}) == 1
    runs = Counter((bench.path / "log").read_text().split())
    assert set(runs) == {f"t{n}" for n in range(30)}
    assert all(count <= 2 for count in runs.values())
    assert sum(runs.values()) <= 30 + 4


def test_errors_run_again_where_that_is_wanted(bench: Bench) -> None:
    bench.file("slow.py", FAST)
    result = bench.run_inside(SLOW_BENCH, "-n8", "--hermes-run-dir=out")
    result.assert_outcomes(passed=28, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["continue  with the same command, --hermes-resume=out instead of --hermes-run-dir, --hermes-retry-errors"]
    )
    ran = (bench.path / "log").read_text().count("\n")
    again = (SLOW_BENCH, "-n8", "--hermes-resume=out")
    # Nothing is left to do; what was found is reported, and decides.
    result = bench.run_inside(*again)
    result.assert_outcomes(passed=28, failed=1, errors=1)
    result.stdout.fnmatch_lines(["hermes: resuming out: 30 attempts finished"])
    (bench.path / "mended").touch()
    bench.run_inside(*again).assert_outcomes(passed=28, failed=1, errors=1)
    assert (bench.path / "log").read_text().count("\n") == ran
    result = bench.run_inside(*again, "--hermes-retry-errors")
    result.assert_outcomes(passed=29, failed=1)
    result.stdout.fnmatch_lines(["hermes: resuming out: 29 attempts finished", "passed    29 of 30 *"])
    result.stdout.no_fnmatch_line("continue *")
    assert (bench.path / "log").read_text().count("\n") == ran + 1
    # The last line of an attempt is the one that counts.
    assert len(bench.records()) == 31
    assert statuses(bench)["t3"] == "passed"
    bench.run_inside(*again, "--hermes-task=t3,t4").assert_outcomes(passed=1, failed=1)


def test_foreign_lines_are_no_obstacle(bench: Bench) -> None:
    bench.file("slow.py", FAST)
    arguments = (SLOW_BENCH, "-n8", "--hermes-task=t1,t2")
    bench.run_inside(*arguments, "--hermes-run-dir=out").assert_outcomes(passed=2)
    results = bench.path / "out" / "results.jsonl"
    results.write_bytes(b'{"some": "body"}\n\xff\n' + results.read_bytes() + b'{"schema_version": 1, "run_id": "')
    result = bench.run_inside(*arguments, "--hermes-resume=out")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["hermes: resuming out: 2 attempts finished; 3 lines of results.jsonl skipped: not records of attempts"]
    )


def test_another_run_is_not_gone_on_with(bench: Bench) -> None:
    bench.file("slow.py", FAST)
    bench.run_inside(SLOW_BENCH, "-n8", "--hermes-run-dir=out", "--hermes-task=t1,t2").assert_outcomes(passed=2)
    before = (bench.path / "out" / "results.jsonl").read_bytes()
    bench.file("slow.py", FAST.replace('"r1"', '"r2"'))
    arguments = (SLOW_BENCH, "-n8", "--hermes-resume=out", "--hermes-model=nop", TEMPERATURE, TOKEN_LENGTH)
    result = bench.run_inside(*arguments)
    assert result.ret == 4
    (line,) = [line for line in result.errlines if line.startswith("ERROR")]
    assert line.startswith("ERROR: cannot resume out, it is a different run: ")
    for difference in (
        'slow model was "oracle" and is "nop"',
        'slow dataset revision was "r1" and is "r2"',
        "slow env.agent_temperature was 1.0 and is 0.5",
        "slow env.max_token_length was null and is 99",
    ):
        assert difference in line
    assert "--hermes-resume-force" in line
    assert (bench.path / "out" / "results.jsonl").read_bytes() == before
    result = bench.run_inside("--hermes-bench=terminal_test", "--hermes-resume=out")
    result.stderr.fnmatch_lines(["ERROR: cannot resume out, it is a different run: it ran slow, not terminal_test; *"])
    bench.run_inside(*arguments, "--hermes-resume-force", "--hermes-task=t1,t5").assert_outcomes(passed=2)
    assert sorted((record["task"], record["model"]) for record in bench.records()[2:]) == [("t1", "nop"), ("t5", "nop")]


def test_a_manifest_with_the_earlier_names_is_read(bench: Bench) -> None:
    bench.file("slow.py", FAST)
    bench.run_inside(SLOW_BENCH, "-n8", "--hermes-run-dir=out", "--hermes-task=t1").assert_outcomes(passed=1)
    manifest = bench.path / "out" / "run.json"
    content = json.loads(manifest.read_text())
    content["facts"] = content.pop("fingerprint")
    manifest.write_text(json.dumps(content))
    other = bench.run_inside(SLOW_BENCH, "--hermes-resume=out", "--hermes-model=nop")
    other.stderr.fnmatch_lines(
        ['ERROR: cannot resume out, it is a different run: *slow model was "oracle" and is "nop"*']
    )
    result = bench.run_inside(SLOW_BENCH, "-n8", "--hermes-resume=out", "--hermes-task=t1")
    result.stdout.fnmatch_lines(["hermes: resuming out: 1 attempt finished"])


def test_what_cannot_be_resumed(bench: Bench) -> None:
    bench.file("slow.py", FAST)
    (bench.path / "empty").mkdir()
    (bench.path / "damaged").mkdir()
    (bench.path / "damaged" / "run.json").write_text("{")
    cases: dict[tuple[str, ...], str] = {
        ("--hermes-resume=nowhere",): "there is no run to resume in nowhere: run.json: No such file or directory",
        ("--hermes-resume=empty",): "there is no run to resume in empty: run.json: *",
        ("--hermes-resume=damaged",): "cannot resume damaged: its run.json is damaged*",
        ("--hermes-resume=a", "--hermes-run-dir=b"): "a resumed run continues in its own folder: *",
        ("--hermes-retry-errors",): "--hermes-retry-errors needs --hermes-resume",
        ("--hermes-resume-force",): "--hermes-resume-force needs --hermes-resume",
    }
    for arguments, problem in cases.items():
        result = bench.run_inside(SLOW_BENCH, *arguments)
        assert result.ret == 4
        result.stderr.fnmatch_lines([f"ERROR: {problem}"])
    assert sorted(os.listdir(bench.path / "empty")) == []
    assert not (bench.path / "nowhere").exists()


def test_a_run_that_still_goes_on_is_left_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.file("slow.py", SLOW.replace("PAUSE", "30"))
    process = bench.start(SLOW_BENCH, "-n4", "--hermes-run-dir=out")
    end = time.monotonic() + 60
    while not (bench.path / "log").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    monkeypatch.setattr("pytest_hermes.runs.resume.PATIENCE", 0.2)
    monkeypatch.setattr("pytest_hermes.runs.folder._PATIENCE", 0.2)
    result = bench.run_inside(SLOW_BENCH, "--hermes-resume=out")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: another process still runs in *out; wait until it has ended"])
    # A new run there would end what can be resumed.
    manifest = (bench.path / "out" / "run.json").read_text()
    for procs in ((), ("--hermes-procs=2",)):
        result = bench.run_inside(SLOW_BENCH, "--hermes-run-dir=out", *procs)
        assert result.ret == 4
        (problem,) = [line for line in result.errlines if line.startswith("ERROR")]
        assert problem.endswith("out; wait until it has ended, or name another folder with --hermes-run-dir")
        assert (bench.path / "out" / "run.json").read_text() == manifest
    process.send_signal(signal.SIGINT)
    process.communicate()


UNSOUND = """
from pytest_hermes import Benchmark, InfrastructureError, Task

class Unsound(Benchmark):
    name = "unsound"

    def tasks(self):
        def task(id, solution="echo 1 > x"):
            return Task(id=id, prompt="p", solution=solution)
        return [task("good"), task("wrong", "true"), task("lenient"), task("hard", None), task("broken")]

    async def compute_reward(self, item, result, ctx):
        if item.id == "broken":
            raise InfrastructureError("out of order", kind="test")
        return float(item.id == "lenient" or ctx.read_file("x").get("content") == "1\\n")
"""


@pytest.mark.parametrize("procs", [(), ("--hermes-procs=2",)], ids=["one", "two"])
def test_a_benchmark_is_validated(bench: Bench, procs: tuple[str, ...]) -> None:
    bench.file("unsound.py", UNSOUND)
    arguments = ("--hermes-bench=unsound.py:Unsound", "--hermes-validate", "-n4", "--hermes-run-dir=out", *procs)
    result = bench.run_inside(*arguments)
    result.assert_outcomes(passed=5, failed=2, errors=2, skipped=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "=* unsound, validation =*",
            "sound         1 of 5 tasks: the oracle passes, and nop does not",
            "oracle fails  wrong",
            "nop passes    lenient",
            "no oracle     hard",
            "error         broken (*): out of order",
        ]
    )
    result.stdout.fnmatch_lines_random(
        [
            "FAILED unsound::test_task[[]wrong@oracle] - reward 0 is below the threshold*",
            "FAILED unsound::test_task[[]lenient@nop] - nop passes: the re*",
        ]
    )
    records: list[dict[str, Any]] = bench.records()
    assert Counter(record["model"] for record in records) == {"oracle": 5, "nop": 5}
    result = bench.run_inside(*arguments, "--hermes-task=good")
    result.assert_outcomes(passed=2)
    assert result.ret == 0

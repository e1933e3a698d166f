"""A run whose folder is deleted while it runs loses no record."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pytest_hermes import InfrastructureError
from pytest_hermes.core.redact import Redactor
from pytest_hermes.runs import Options, Run, load
from pytest_hermes.runs.refuge import refuge_of
from pytest_hermes.runs.results_file import ResultsFile, read_results
from pytest_hermes.runs.results_follower import ResultsFollower
from tests.rollout.test_results_file import record
from tests.services.bench import Bench
from tests.services.waiting import wait_for

SLOW = """
import asyncio
from pytest_hermes import Benchmark, Task

class Slow(Benchmark):
    name = "slow"
    default_model = "nop"

    def tasks(self):
        return [Task(id=f"t{n}", prompt="p") for n in range(TASKS)]

    async def compute_reward(self, item, result, ctx):
        await asyncio.sleep(0.2)
        return 1.0
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's programs keep their state."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def tasks(path: Path) -> list[str]:
    return [one.task for one in read_results(path)]


def test_every_process_takes_along_what_it_wrote(tmp_path: Path, state: Path) -> None:
    refuge = refuge_of("r")
    one, other = (ResultsFile(tmp_path / "out", Redactor(()), refuge) for _ in range(2))
    follower = ResultsFollower(tmp_path / "out", "r")
    for number, file in enumerate((one, other, one)):
        file.append(record(task=f"before{number}"))
    assert [found.task for found in follower.new()] == ["before0", "before1", "before2"]
    other.append(record(task="unseen"))
    shutil.rmtree(tmp_path / "out")
    assert follower.new() == []
    one.append(record(task="first"))
    # The other one was in the middle of writing, as it were: it finds out only now.
    other.append(record(task="second"))
    one.append(record(task="third"))
    assert one.path == other.path == follower.path == refuge / "results.jsonl"
    assert tasks(one.path) == ["before0", "before1", "before2", "unseen", "first", "second", "third"]
    assert [found.task for found in follower.new()] == ["unseen", "first", "second", "third"]
    one.close()
    other.close()


def test_what_was_written_before_it_is_noticed_is_not_lost(tmp_path: Path, state: Path) -> None:
    one, late = (ResultsFile(tmp_path / "out", Redactor(()), refuge_of("r")) for _ in range(2))
    shutil.rmtree(tmp_path / "out")
    one.append(record(task="a"))
    # As if the folder had been deleted between its last look and its write.
    refuge, late._refuge = late._refuge, None
    late.append(record(task="b"))
    late._refuge = refuge
    late.follow()
    assert tasks(one.path) == ["a", "b"]
    one.close()
    late.close()


def test_a_folder_that_is_moved_is_followed(tmp_path: Path, state: Path) -> None:
    file = ResultsFile(tmp_path / "out", Redactor(()), refuge_of("r"))
    file.append(record(task="a"))
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    file.append(record(task="b"))
    assert file.path == tmp_path / "elsewhere" / "results.jsonl"
    assert tasks(file.path) == ["a", "b"]
    assert not state.exists()
    file.close()


def test_where_nothing_can_be_made_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file" / "state"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    assert refuge_of("r").is_relative_to(tmp_path / "tmp")


@pytest.mark.parametrize("procs", [(), pytest.param(("--hermes-procs=2",), marks=pytest.mark.slow)], ids=["one", "two"])
def test_a_run_goes_on_elsewhere_and_says_so(bench: Bench, state: Path, procs: tuple[str, ...]) -> None:
    bench.file("slow.py", SLOW.replace("TASKS", "12").replace("0.2", "0.4"))
    bench.file(
        "conftest.py", "import pytest_hermes.runs.results_watch\npytest_hermes.runs.results_watch._EVERY = 0.1\n"
    )
    arguments = ("--hermes-bench=slow.py:Slow", "-n4", *procs)
    process = bench.start(*arguments, "--hermes-run-dir=out", "--color=no")
    results = bench.path / "out" / "results.jsonl"
    assert wait_for(lambda: results.exists() and results.read_bytes().count(b"\n") >= 4, 60)
    shutil.rmtree(bench.path / "out")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    (refuge,) = (state / "pytest-hermes" / "runs").iterdir()
    assert f"hermes: {bench.path}/out is gone: the results go on in {refuge}\n" in output
    assert f"problem   {bench.path}/out is gone: the results go on in {refuge}\n" in output
    assert f"results   {refuge}/results.jsonl\n" in output
    assert sorted(tasks(refuge / "results.jsonl")) == sorted(f"t{n}" for n in range(12))
    assert "12 passed" in output
    assert not (bench.path / "out").exists()
    result = bench.run_inside(*arguments[:1], f"--hermes-resume={refuge}")
    result.stdout.fnmatch_lines([f"hermes: resuming {refuge}: 12 attempts finished"])
    result.assert_outcomes(passed=12)


async def test_records_that_nobody_can_have_end_the_run(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow.py").write_text(SLOW.replace("TASKS", "200"))
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("pytest_hermes.runs.run.refuge_of", lambda run_id: tmp_path / "file" / "refuge")
    monkeypatch.setattr("pytest_hermes.runs.results_watch._EVERY", 0.1)
    plan = await load(Options(bench=["slow.py:Slow"], run_dir="out"), cwd=tmp_path)

    async def delete_the_folder_again_and_again(run: Run) -> None:
        async for _ in run:
            shutil.rmtree(tmp_path / "out", ignore_errors=True)

    async with Run(plan) as run:
        with pytest.raises(InfrastructureError, match=r"cannot (be written elsewhere|write results)") as end:
            await delete_the_folder_again_and_again(run)
        assert end.value.kind == "results"
    assert run.abort_reason is not None


AGENT = """
async def test_own(hermes_agent):
    import shutil
    await hermes_agent.run("Say it.")
    shutil.rmtree("out", ignore_errors=True)
"""


def test_tests_with_an_agent_are_reported_from_elsewhere(bench: Bench, state: Path) -> None:
    bench.file("test_own.py", AGENT + AGENT.replace("test_own", "test_other"))
    result = bench.run_inside("--hermes-model=nop", "--hermes-run-dir=out", "-o", "asyncio_mode=auto")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["=* tests with hermes_agent, nop =*", "results   *results.jsonl"])
    (refuge,) = (state / "pytest-hermes" / "runs").iterdir()
    lines: list[dict[str, Any]] = [json.loads(line) for line in (refuge / "results.jsonl").read_text().splitlines()]
    assert len(lines) == 2

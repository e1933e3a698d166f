"""What users know of pytest goes on working with benchmark items."""

from __future__ import annotations

import pytest

from tests.services.bench import Bench

SLEEPS = """
from pytest_hermes import Benchmark, Task

class Sleeps(Benchmark):
    '''Tasks that take their time; odd ones fail.'''
    name = "sleeps"
    default_model = "oracle"

    def tasks(self):
        return [Task(id=f"t{i}", prompt="", solution=f"sleep {(9 - i) / 10}; echo {i} > i") for i in range(10)]

    async def compute_reward(self, item, result, ctx):
        return 1.0 - int(ctx.read_file("i")["content"]) % 2
"""

#: A session that held on to its rollouts would need gigabytes.
KEPT = """
import gc, weakref

rollouts = []

def pytest_hermes_rollout(item, rollout):
    rollouts.append(weakref.ref(rollout))

def pytest_hermes_summary(config, records):
    gc.collect()
    kept = sum(rollout() is not None for rollout in rollouts)
    return f"{len(rollouts)} rollouts, of which {'the last one is' if kept < 2 else kept} kept at most"
"""

SLEEPS_ARGS = ("--hermes-bench=sleeps.py:Sleeps", "--hermes-run-dir=out")


def test_collect_only(bench: Bench) -> None:
    result = bench.run_inside("--hermes-bench=terminal_test", "--co", "--hermes-task=create-file,clean-up")
    result.stdout.fnmatch_lines(["*<Benchmarks hermes>", "*<TaskItem test_task?create-file?>", "*2 tests collected*"])
    assert not (bench.path / "hermes-runs").exists()
    result = bench.run_inside("--hermes-bench=terminal_test", "--co", "-q", "--hermes-task=create-file")
    result.stdout.fnmatch_lines(["terminal_test::test_task?create-file?"])


def test_items_are_reported_as_their_rollouts_finish(bench: Bench) -> None:
    bench.file("sleeps.py", SLEEPS)
    bench.file("conftest.py", KEPT)
    result = bench.run(*SLEEPS_ARGS, "-n10", "-v")
    result.assert_outcomes(passed=5, failed=5)
    result.stdout.fnmatch_lines(["10 rollouts, of which the last one is kept at most"])
    order = [line.split("[")[1].split("]")[0] for line in result.outlines if line.startswith("sleeps::test_task[")]
    assert sorted(order) == [f"t{i}" for i in range(10)]
    assert order.index("t9") < order.index("t0")


def test_exit_first_and_maxfail_stop_the_run(bench: Bench) -> None:
    bench.file("sleeps.py", SLEEPS)
    result = bench.run_inside(*SLEEPS_ARGS, "-n2", "-x")
    assert result.parseoutcomes()["failed"] == 1
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])
    result.stdout.fnmatch_lines(["stopped   * of 10 attempts did not finish and are not counted"])
    assert bench.run_inside(*SLEEPS_ARGS, "-n2", "--maxfail=2").parseoutcomes()["failed"] == 2


def test_last_failed(bench: Bench) -> None:
    bench.file("sleeps.py", SLEEPS)
    bench.run_inside(*SLEEPS_ARGS, "-n10").assert_outcomes(passed=5, failed=5)
    result = bench.run_inside(*SLEEPS_ARGS, "-n10", "--lf")
    result.assert_outcomes(failed=5)
    result.stdout.fnmatch_lines(["*rerun previous 5 failures*"])


def test_durations_are_those_of_the_rollouts(bench: Bench) -> None:
    bench.file("sleeps.py", SLEEPS)
    result = bench.run_inside(*SLEEPS_ARGS, "-n10", "--durations=3")
    slowest = [line.split() for line in result.outlines if " call " in line]
    assert len(slowest) == 3
    # Without the rollouts' own durations, each would be some milliseconds.
    assert {row[2] for row in slowest} <= {f"sleeps::test_task[t{i}]" for i in range(6)}
    assert all(float(row[0].rstrip("s")) >= 0.4 for row in slowest)


def test_junit_times_are_those_of_the_rollouts(bench: Bench) -> None:
    import xml.etree.ElementTree as ElementTree

    bench.file("sleeps.py", SLEEPS)
    bench.run_inside(*SLEEPS_ARGS, "-n10", "--junitxml=j.xml")
    times = {
        c.attrib["name"]: float(c.attrib["time"]) for c in ElementTree.parse(bench.path / "j.xml").iter("testcase")
    }
    assert len(times) == 10
    assert times["test_task[t0]"] >= 0.9


def test_pdb_finds_the_sandbox_open(bench: Bench) -> None:
    bench.file("sleeps.py", SLEEPS)
    child = bench.on_a_terminal(*SLEEPS_ARGS, "--pdb", "--hermes-task=t1", "-n4")
    child.expect("(Pdb)")
    child.sendline("p rollout.context.terminal('echo seen-$(cat i)')['output']")
    child.expect("seen-1")
    child.sendline("q")
    child.read()
    child.wait()


def test_strict_markers_and_strict_config(bench: Bench) -> None:
    bench.file(
        "pytest.ini",
        "[pytest]\naddopts = --strict-markers\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n",
    )
    bench.run_inside("--hermes-bench=terminal_test", "--hermes-task=create-file", "-m", "hermes").assert_outcomes(
        passed=1
    )


def test_with_pytest_timeout(bench: Bench) -> None:
    """Its clock runs while an item runs, and an item runs only when its rollout is finished."""
    bench.file("sleeps.py", SLEEPS)
    bench.run(*SLEEPS_ARGS, "-n1", "--hermes-task=t0,t2", "--timeout=0.7").assert_outcomes(passed=2)


def test_with_pytest_html(bench: Bench) -> None:
    bench.file("sleeps.py", SLEEPS)
    result = bench.run(*SLEEPS_ARGS, "-n10", "--html=report.html", "--self-contained-html", all_plugins=True)
    result.assert_outcomes(passed=5, failed=5)
    assert "sleeps::test_task[t1]" in (bench.path / "report.html").read_text()


def test_skip_marks_of_a_conftest_cost_nothing(bench: Bench) -> None:
    bench.file(
        "conftest.py",
        "import pytest\n"
        "def pytest_collection_modifyitems(items):\n"
        "    for item in items:\n"
        "        if 'create-file' in item.name: item.add_marker(pytest.mark.skip(reason='not today'))\n",
    )
    result = bench.run_inside(
        "--hermes-bench=terminal_test", "--hermes-task=create-file,clean-up", "--hermes-run-dir=out"
    )
    result.assert_outcomes(passed=1, skipped=1)
    assert [record["task"] for record in bench.records()] == ["clean-up"]


def test_without_a_benchmark_n_is_xdist_s(bench: Bench) -> None:
    bench.file("test_own.py", "def test_worker(worker_id): assert worker_id == 'gw0'\n")
    bench.run_inside("-n1").assert_outcomes(passed=1)


def test_without_a_benchmark_only_pytest_and_the_standard_library_are_imported(bench: Bench) -> None:
    bench.file(
        "test_own.py",
        "import sys\n"
        "def test_imports():\n"
        "    heavy = {'openai', 'pydantic', 'greenlet', 'docker', 'yaml', 'asyncio'} & set(sys.modules)\n"
        "    ours = {name for name in sys.modules if name.startswith('pytest_hermes.')}\n"
        "    assert not heavy, heavy\n"
        "    light = tuple(f'pytest_hermes.{name}' for name in ('plugin', 'core', 'config'))\n"
        "    ours -= {f'pytest_hermes.{n}' for n in ('runs', 'runs.selection', 'report', 'report.numbers')}\n"
        "    assert all(name.startswith(light) for name in ours), ours\n",
    )
    bench.file("pytest.ini", "[pytest]\nfilterwarnings = error\n")
    bench.run("-p", "no:asyncio", "-p", "no:xdist").assert_outcomes(passed=1)


def test_switched_off(bench: Bench) -> None:
    bench.file("test_own.py", "def test_mine(): pass\n")
    bench.run("-p", "no:hermes").assert_outcomes(passed=1)
    assert bench.run("-p", "no:hermes", "--hermes-bench=terminal_test").ret == pytest.ExitCode.USAGE_ERROR

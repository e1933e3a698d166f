"""Attempts that an earlier process of a run has finished are reported from their records, as if they had been run."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from tests.services.bench import Bench

MIXED = """
import pytest
from pytest_hermes import Benchmark, InfrastructureError, Task, Verdict

class Mixed(Benchmark):
    name = "mixed"
    default_model = "oracle"

    def tasks(self):
        return [Task(id=id, prompt="p", solution="true", tags=(id,)) for id in ("good", "bad", "broken", "left-out")]

    async def compute_reward(self, item, result, ctx):
        if item.id == "broken":
            raise InfrastructureError("out of order", kind="test")
        if item.id == "left-out":
            pytest.skip("not today")
        return Verdict(reward=float(item.id == "good"), output="the verifier's output")
"""
BENCH = "--hermes-bench=mixed.py:Mixed"
RESUME = (BENCH, "--hermes-resume=out", "-n2", "-rA", "--junitxml=junit.xml")

#: Takes part in running an item, and changes nothing.
OWN_HOOK = "def pytest_runtest_setup(item):\n    print('own hook')\n"


@pytest.fixture
def finished(bench: Bench) -> Bench:
    bench.file("mixed.py", MIXED)
    bench.run_inside(BENCH, "--hermes-run-dir=out").assert_outcomes(passed=1, failed=1, errors=1, skipped=1)
    return bench


def seen(bench: Bench, *arguments: str) -> tuple[int, list[str], dict[str, object]]:
    """Return the exit code, the lines on items and of the summary, and what JUnit's XML has of each item."""
    result = bench.run_inside(*RESUME, *arguments)
    begin = next(number for number, line in enumerate(result.outlines) if "= mixed, oracle =" in line)
    lines = [re.sub(r" in \d+\.\d+s.*", "", line) for line in result.outlines[begin:]]
    cases: dict[str, object] = {
        case.attrib["name"]: (
            [(part.tag, part.attrib.get("message"), part.text) for part in case if part.tag != "properties"],
            sorted((each.attrib["name"], each.attrib["value"]) for each in case.iter("property")),
        )
        for case in ElementTree.parse(bench.path / "junit.xml").iter("testcase")
    }
    return result.ret, lines, cases


def test_they_look_as_if_they_had_been_run(finished: Bench) -> None:
    assert "<FinishedItem " in finished.run_inside(BENCH, "--hermes-resume=out", "--co").stdout.str()
    code, lines, cases = seen(finished)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert len(cases) == 4
    finished.file("conftest.py", OWN_HOOK)
    assert "<FinishedItem " not in finished.run_inside(BENCH, "--hermes-resume=out", "--co").stdout.str()
    own_code, own_lines, own_cases = seen(finished)
    assert (own_code, own_lines) == (code, lines)
    assert own_cases == cases


def test_code_of_the_users_sees_every_item(finished: Bench) -> None:
    finished.file("conftest.py", OWN_HOOK)
    assert finished.run_inside(BENCH, "--hermes-resume=out", "-s").stdout.str().count("own hook") == 4
    finished.file(
        "conftest.py", "import pytest\n@pytest.fixture(autouse=True)\ndef own(rollout):\n    print('own fixture')\n"
    )
    assert finished.run_inside(BENCH, "--hermes-resume=out", "-s").stdout.str().count("own fixture") == 2
    finished.file("conftest.py", "def pytest_hermes_rollout(item, rollout):\n    print('own', rollout.record.status)\n")
    assert finished.run_inside(BENCH, "--hermes-resume=out", "-s").stdout.str().count("own ") == 4


def test_options_and_markers_hold_for_them(finished: Bench) -> None:
    finished.run_inside(BENCH, "--hermes-resume=out", "-k", "good or broken").assert_outcomes(
        passed=1, errors=1, deselected=2
    )
    stopped = finished.run_inside(BENCH, "--hermes-resume=out", "-x")
    assert sum(stopped.parseoutcomes().get(name, 0) for name in ("failed", "errors")) == 1
    plugin = (
        "import pytest\ndef pytest_collection_modifyitems(items):\n    items[0].add_marker(pytest.mark.skip('mine'))\n"
    )
    finished.file("conftest.py", plugin)
    finished.run_inside(BENCH, "--hermes-resume=out").assert_outcomes(failed=1, errors=1, skipped=2)


def test_they_are_the_same_in_several_processes(finished: Bench) -> None:
    finished.run(BENCH, "--hermes-resume=out", "--hermes-procs=2", "-n2").assert_outcomes(
        passed=1, failed=1, errors=1, skipped=1
    )

"""What rollouts print and log stands in their own item's report, and nowhere else."""

from __future__ import annotations

import pytest

from tests.services.bench import Bench

NOISY = """
import asyncio, logging, sys
from pytest_hermes import Benchmark, Task

class Noisy(Benchmark):
    name = "noisy"
    default_model = "oracle"

    def tasks(self):
        return [Task(id=f"t{i}", prompt="", solution="true") for i in range(6)]

    async def compute_reward(self, item, result, ctx):
        for turn in range(3):
            print(f"out-{item.id}-{turn}")
            print(f"err-{item.id}-{turn}", file=sys.stderr)
            logging.getLogger("noisy").warning("log-%s-%d", item.id, turn)
            await asyncio.sleep(0.02)
            ctx.terminal("sleep 0.02")
        await asyncio.gather(self.child(item))
        return 0.0

    async def child(self, item):
        print(f"out-{item.id}-child")
"""

CONFTEST = """
import pytest, time

@pytest.fixture(autouse=True)
def slow():
    print("a fixture of the item")
    time.sleep(0.05)  # other rollouts print meanwhile
"""


def sections(output: str) -> dict[str, str]:
    """Return the report of each item by its name."""
    parts = output.split("____ test_task[")[1:]
    return {part.split("]")[0]: part.split("=====")[0] for part in parts}


@pytest.mark.parametrize("mode", [(), ("--capture=sys",)], ids=["fd", "sys"])
def test_each_in_its_own_section(bench: Bench, mode: tuple[str, ...]) -> None:
    bench.file("noisy.py", NOISY)
    bench.file("conftest.py", CONFTEST)
    result = bench.run("--hermes-bench=noisy.py:Noisy", "-n6", *mode)
    result.assert_outcomes(failed=6)
    reports = sections(result.stdout.str())
    assert len(reports) == 6
    for name, report in reports.items():
        for kind in ("out", "err", "log"):
            for turn in range(3):
                assert f"{kind}-{name}-{turn}" in report
        assert f"out-{name}-child" in report
        assert "Captured stdout rollout" in report
        assert "Captured stderr rollout" in report
        assert "Captured log rollout" in report
        others = {f"-t{i}-" for i in range(6)} - {f"-{name}-"}
        assert not any(other in report for other in others)
    assert result.stdout.str().count("out-t3-0") == 1


def test_nothing_of_it_reaches_the_terminal_while_others_run(bench: Bench) -> None:
    bench.file("noisy.py", NOISY)
    result = bench.run("--hermes-bench=noisy.py:Noisy", "-n6", "-s", "--tb=no")
    assert "out-t0-0" not in result.stdout.str()
    assert "log-t0-0" not in result.stdout.str() + result.stderr.str()


def test_a_flood_is_cut_in_the_middle(bench: Bench) -> None:
    bench.file(
        "noisy.py",
        NOISY.replace("for turn in range(3):", "for turn in range(100_000):", 1)
        .replace('            await asyncio.sleep(0.02)\n            ctx.terminal("sleep 0.02")\n', "")
        .replace("range(6)", "range(1)"),
    )
    result = bench.run("--hermes-bench=noisy.py:Noisy")
    text = result.stdout.str()
    assert "out-t0-0\n" in text
    assert "out-t0-99999\n" in text
    assert "bytes left out" in text
    assert len(text) < 1_500_000


def test_a_rollout_s_output_is_in_the_junit_file(bench: Bench) -> None:
    bench.file("noisy.py", NOISY)
    bench.run_inside("--hermes-bench=noisy.py:Noisy", "-n6", "--junitxml=j.xml", "-o", "junit_logging=all")
    assert "out-t5-2" in (bench.path / "j.xml").read_text()

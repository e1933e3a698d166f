"""How long 100 tasks of 0.2-0.4 s take with 32 in flight, beside the same commands without any harness.

    python tests/performance/main_job.py [rounds]

Prints medians of wall and CPU seconds, of the whole `pytest` process with its children, and the ratio to a bare
event loop that runs the same 100 commands with bash, 32 at once. The ideal is 100 x 0.3 s / 32 = 0.94 s.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.performance.cpu_time import CpuTime
else:
    from cpu_time import CpuTime

TASKS, IN_FLIGHT = 100, 32

BENCHMARK = f"""
from pytest_hermes import Benchmark, Task

class Sleeps(Benchmark):
    name = "sleeps"
    default_model = "oracle"

    def tasks(self):
        return [Task(id=f"t{{i}}", prompt="", solution=f"sleep {{0.2 + i % 5 * 0.05:.2f}}") for i in range({TASKS})]

    async def compute_reward(self, item, result, ctx):
        return 1.0
"""


def commands() -> list[str]:
    return [f"sleep {0.2 + i % 5 * 0.05:.2f}" for i in range(TASKS)]


async def _bare() -> None:
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one(command: str) -> None:
        async with slots:
            process = await asyncio.create_subprocess_exec("bash", "-c", command)
            await process.wait()

    await asyncio.gather(*(one(command) for command in commands()))


def bare() -> None:
    asyncio.run(_bare())


def plugin() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sleeps.py").write_text(BENCHMARK)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        # Other plugins of this environment are not what is measured: those for tests take a second to be imported.
        environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        plugins = ["-p", "xdist", "-p", "hermes"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *plugins, "-q", "--hermes-bench=sleeps.py:Sleeps", "-n", str(IN_FLIGHT)],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(done.stdout + done.stderr)


def measure(run: Callable[[], None]) -> tuple[float, float]:
    """Return wall and CPU seconds of one run, children included."""
    with CpuTime() as cpu:
        cpu.add(os.getpid())
        started = time.perf_counter()
        run()
        wall = time.perf_counter() - started
        return wall, cpu.seconds


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    figures: dict[str, list[tuple[float, float]]] = {"bare": [], "plugin": []}
    for _ in range(rounds):
        figures["bare"].append(measure(bare))
        figures["plugin"].append(measure(plugin))
    print(f"{TASKS} tasks, {IN_FLIGHT} in flight, medians of {rounds} rounds")
    for name, runs in figures.items():
        wall, cpu = (statistics.median(run[i] for run in runs) for i in (0, 1))
        print(f"  {name:<7} {wall:6.2f} s wall  {cpu:6.2f} s CPU")
    ratio = statistics.median(p[0] / b[0] for p, b in zip(figures["plugin"], figures["bare"], strict=True))
    print(f"  plugin / bare: {ratio:.2f} x wall")


if __name__ == "__main__":
    main()

"""What it costs to run task directories, beside a runner that does nothing but `docker run`, `exec` and `rm`.

    .ci/services python tests/performance/task_directories.py [--rounds 3] [--tasks 20] [--in-flight 8]

Each task has a one-line solution and a one-line test. The bare runner starts a container, runs the two by `docker exec`
and removes it. CPU is that of the clients, not of the engine. Figures are medians; the ratio is that of the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.performance.cpu_time import CpuTime
else:
    from cpu_time import CpuTime


AIMS = "aims: wall <= 1.4 x the bare runner; CPU <= 6 s for 20 tasks"
SOLUTION, TEST = "echo 1 >/answer", "[ -e /answer ] && mkdir -p /logs/verifier && echo 1 >/logs/verifier/reward.txt"


def write_tasks(folder: Path, image: str, count: int) -> None:
    for number in range(count):
        for path, text in {
            "task.toml": f'[environment]\ndocker_image = "{image}"\n',
            "instruction.md": "Write 1 to /answer.\n",
            "environment/README": "",
            "solution/solve.sh": f"#!/bin/sh\n{SOLUTION}\n",
            "tests/test.sh": f"#!/bin/sh\n{TEST}\n",
        }.items():
            file = folder / f"task-{number:02}" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


def bare(image: str, count: int, in_flight: int) -> None:
    def docker(*arguments: str) -> str:
        return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()

    def task(_: int) -> None:
        container = docker("run", "-d", "--init", image, "sleep", "1000")
        docker("exec", container, "sh", "-c", SOLUTION)
        docker("exec", container, "sh", "-c", TEST)
        docker("rm", "-f", container)

    with ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(task, range(count)))


def plugin(folder: Path, count: int, in_flight: int) -> None:
    # The benchmark alone: other plugins of the environment would be counted as well.
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "xdist", "-p", "hermes",
        "--hermes-bench=terminalbench_2", f"--hermes-dataset={folder}", "--hermes-model=oracle", f"-n{in_flight}",
    ]  # fmt: skip
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with tempfile.TemporaryDirectory() as cwd:
        done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    if done.returncode or f"{count} passed" not in done.stdout:
        sys.exit(done.stdout + done.stderr)


def measured(work: Callable[[], None]) -> tuple[float, float]:
    """Return wall time and the CPU of the processes that were started, in seconds."""
    with CpuTime() as cpu:
        cpu.add(os.getpid())
        began = time.perf_counter()
        work()
        wall = time.perf_counter() - began
        return wall, cpu.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--in-flight", type=int, default=8)
    args = parser.parse_args()
    image = os.environ["HERMES_TEST_IMAGE"]
    print(AIMS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_tasks(folder, image, args.tasks)
        programs: dict[str, Callable[[], None]] = {
            "bare": lambda: bare(image, args.tasks, args.in_flight),
            "plugin": lambda: plugin(folder, args.tasks, args.in_flight),
        }
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
        for _ in range(args.rounds):
            for name, program in programs.items():
                figures[name].append(measured(program))
    print(f"{args.tasks} tasks, {args.in_flight} in flight, {args.rounds} rounds")
    for name, runs in figures.items():
        wall, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"  {name:<8} {wall:6.1f} s wall {cpu:6.1f} s CPU")
    ratio = statistics.median(p[0] / b[0] for p, b in zip(figures["plugin"], figures["bare"], strict=True))
    print(f"  {ratio:.2f} x wall of the bare runner")


if __name__ == "__main__":
    main()

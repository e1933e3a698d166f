"""What it costs to resume a run of which everything is finished: the whole process, from its start to its end.

    python tests/performance/resume.py [--attempts 10000] [--turns 20] [--rounds 3] [--before CHECKOUT]

Each attempt has a conversation of so many turns, of some 1.3 KB each; two of three passed. With `--before`, another
checkout of this repository is measured in turn with this one. Beside them stands pytest alone, with as many tests
that do nothing. Figures are medians: wall seconds, CPU seconds, and the largest resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import astuple, dataclass
from pathlib import Path

HERE = Path(__file__).parents[2]

#: What the figures should reach.
AIMS = "aims: below 5 s and 100 MB more than for one attempt"

BENCHMARK = """
from pytest_hermes import Benchmark, Task

class Many(Benchmark):
    name = "many"
    default_model = "nop"

    def tasks(self):
        return [Task(id=f"t{{n}}", prompt="p") for n in range({attempts})]

    async def compute_reward(self, item, result, ctx):
        return 1.0
"""

ALONE = """
import pytest

@pytest.mark.parametrize("n", range({attempts}))
def test_nothing(n):
    pass
"""


@dataclass(frozen=True)
class Figures:
    wall: float
    cpu: float
    rss: float


def pytest_process(folder: Path, *arguments: str, checkout: Path = HERE, codes: tuple[int, ...] = (0,)) -> Figures:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # Not what is installed: another checkout may be asked for. Other plugins take time that is not measured here.
    environ |= {"PYTHONPATH": str(checkout), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "pytest_hermes.plugin", "-q", "--tb=no", *arguments]
    with tempfile.TemporaryFile("w+") as output:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, env=environ)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in codes:
            output.seek(0)
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{output.read()[-2000:]}")
    return Figures(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)


def make_run(folder: Path, attempts: int, turns: int) -> None:
    """Make a finished run in `folder` of one that has one attempt."""
    (folder / "many.py").write_text(BENCHMARK.format(attempts=1))
    pytest_process(folder, "--hermes-bench=many.py:Many", "--hermes-run-dir=out")
    (folder / "many.py").write_text(BENCHMARK.format(attempts=attempts))
    path = folder / "out" / "results.jsonl"
    record = json.loads(path.read_text())
    call = {"name": "terminal", "arguments": json.dumps({"command": "ls -la && cat notes.txt"})}
    record["messages"] = [{"role": "user", "content": "p" * 2000}] + turns * [
        {"role": "assistant", "content": "I look.", "tool_calls": [{"id": "c", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "c", "content": "x" * 1000},
    ]
    record["reasoning_per_turn"] = [None] * turns
    with path.open("w") as file:
        for number in range(attempts):
            record["task"] = f"t{number}"
            record["status"], record["reward"] = ("failed", 0.0) if number % 3 == 2 else ("passed", 1.0)
            file.write(json.dumps(record) + "\n")
    print(f"{attempts} attempts, {path.stat().st_size / 1e6:.0f} MB of results")


def show(name: str, runs: list[Figures]) -> None:
    wall, cpu, rss = (statistics.median(values) for values in zip(*map(astuple, runs), strict=True))
    print(f"  {name:<14} {wall:6.2f} s wall   {cpu:6.2f} s CPU   {rss:4.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--attempts", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="another checkout to measure in turn with this one")
    args = parser.parse_args()
    print(AIMS)
    checkouts = {"before": args.before.resolve()} if args.before else {}
    checkouts["now"] = HERE
    figures: dict[str, list[Figures]] = {}
    with tempfile.TemporaryDirectory() as name:
        one, many = Path(name, "one"), Path(name, "many")
        for folder, attempts in ((one, 1), (many, args.attempts)):
            folder.mkdir()
            make_run(folder, attempts, args.turns)
        (many / "test_alone.py").write_text(ALONE.format(attempts=args.attempts))
        resume = ("--hermes-bench=many.py:Many", "--hermes-resume=out")
        for _ in range(args.rounds):
            figures.setdefault("pytest alone", []).append(pytest_process(many, "test_alone.py"))
            for version, checkout in checkouts.items():
                figures.setdefault(f"one, {version}", []).append(pytest_process(one, *resume, checkout=checkout))
                found = pytest_process(many, *resume, checkout=checkout, codes=(1,))
                figures.setdefault(f"all, {version}", []).append(found)
    for label, runs in figures.items():
        show(label, runs)


if __name__ == "__main__":
    main()

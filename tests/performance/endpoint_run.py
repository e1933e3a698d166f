"""What a run against an endpoint costs, beside a bare event loop that does the same work.

    python tests/performance/endpoint_run.py [--rounds 3] [--quick | --requests] [--before COMMIT]

Each task is five tool turns, an answer and one verifier command, in local sandboxes without bubblewrap. The endpoint
is scripted and runs in a process of its own, whose CPU is not counted. The bare loop has the `openai` client and a
`bash -c` for each command. Both are measured as whole processes, from their start to their end: wall seconds,
seconds until the endpoint is asked first, CPU milliseconds a task (children included), and the largest resident set.
Figures are medians; the ratios are medians of the rounds' ratios. In the end, `request_time.py` shows what a request
costs; `--requests` shows only that.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.performance import request_time
    from tests.performance.cpu_time import CpuTime
else:
    import request_time
    from cpu_time import CpuTime

HERE = Path(__file__).parent
TURNS = 5

#: From the endpoint's URL, the number of tasks and how many may be in flight to the interpreter's arguments.
Program = Callable[[str, int, int], list[str]]
VERIFY = f'test "$(wc -l < notes.txt)" -eq {TURNS}'

BENCHMARK = """
from pytest_hermes import Benchmark, Task

class Notes(Benchmark):
    name = "notes"
    default_toolsets = ("terminal",)

    def tasks(self):
        return [Task(id=f"t{{i}}", prompt=f"Task {{i}}: note every turn.") for i in range({tasks})]

    async def compute_reward(self, item, result, ctx):
        return float(ctx.terminal({verify!r})["exit_code"] == 0)
"""

#: What the figures should reach, at any latency.
AIMS = "aims: wall <= 2.0 x, CPU <= 1.5 x the bare loop; first request <= 1 s; RSS < 120 MB at 32, < 250 MB at 256"


@dataclass(frozen=True)
class Figures:
    wall: float
    first: float
    cpu: float
    rss: float


class Endpoint:
    def __init__(self, port: int) -> None:
        self._port = port

    def url(self, milliseconds: int) -> str:
        return f"http://127.0.0.1:{self._port}/{milliseconds}/v1"

    def mark(self) -> tuple[float, int]:
        """Return when the first request since the last mark came, and how many came."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        connection.request("GET", "/mark")
        reply = json.loads(connection.getresponse().read())
        connection.close()
        return reply["first"] or 0.0, reply["requests"]


@contextmanager
def scripted_endpoint() -> Iterator[Endpoint]:
    command = [sys.executable, str(HERE / "scripted_endpoint.py"), str(TURNS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Endpoint(int(process.stdout.readline()))
        process.communicate()


def bare(url: str, tasks: int, in_flight: int, program: str = "bare_loop.py") -> list[str]:
    return [str(HERE / program), url, str(tasks), str(in_flight), VERIFY]


def plugin(url: str, tasks: int, in_flight: int, *options: str) -> list[str]:
    Path("notes.py").write_text(BENCHMARK.format(tasks=tasks, verify=VERIFY))
    model = ["--hermes-model=scripted", f"--hermes-base-url={url}"]
    return [
        "-m",
        "pytest",
        "-p",
        "xdist",
        "-p",
        "hermes",
        "-q",
        "--hermes-bench=notes.py:Notes",
        *model,
        "-n",
        str(in_flight),
        *options,
    ]


def measure(arguments: list[str], endpoint: Endpoint, tasks: int) -> Figures:
    endpoint.mark()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "OPENAI_"))}
    environ["PYTEST_HERMES_LOCAL_ISOLATION"] = "none"
    environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # hypothesis, say, takes a quarter of a second to sum up nothing
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling all modules at each start is not what is measured
    with open("output.txt", "w+") as output:
        started = time.monotonic()
        with CpuTime() as cpu:
            process = subprocess.Popen([sys.executable, *arguments], stdout=output, stderr=output, env=environ)
            cpu.add(process.pid)
            _, status, used = os.wait4(process.pid, 0)
            wall = time.monotonic() - started
            cpu_seconds = cpu.seconds
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(arguments)} failed:\n{output.read()}")
    first, requests = endpoint.mark()
    if requests != tasks * (TURNS + 1):
        sys.exit(f"{' '.join(arguments)} asked {requests} times, not {tasks * (TURNS + 1)}")
    # The largest of the process and its descendants; those are all smaller.
    rss = used.ru_maxrss * 1024 / (1 if sys.platform == "linux" else 1024)
    return Figures(wall, first - started, cpu_seconds / tasks * 1e3, rss / 1e6)


def once(program: Program, endpoint: Endpoint, tasks: int, in_flight: int, milliseconds: int) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        figures = measure(program(endpoint.url(milliseconds), tasks, in_flight), endpoint, tasks)
        os.chdir(HERE)
    return figures


def show(name: str, runs: list[Figures]) -> None:
    """Print the medians of some runs."""
    wall, first, cpu, rss = (statistics.median(values) for values in zip(*map(astuple, runs), strict=True))
    print(f"  {name:<7} {wall:6.2f} s wall   first request {first:5.2f} s   {cpu:6.1f} ms CPU a task   {rss:4.0f} MB")


def compare(endpoint: Endpoint, tasks: int, in_flight: int, milliseconds: int, rounds: int) -> None:
    figures: dict[str, list[Figures]] = {"bare": [], "plugin": []}
    for _ in range(rounds):
        for name, program in (("bare", bare), ("plugin", plugin)):
            figures[name].append(once(program, endpoint, tasks, in_flight, milliseconds))
    print(f"{tasks} tasks, {in_flight} in flight, {milliseconds} ms latency, {rounds} round{'s'[: rounds > 1]}")
    for name, runs in figures.items():
        show(name, runs)
    pairs = list(zip(figures["plugin"], figures["bare"], strict=True))
    wall, cpu = (statistics.median(getattr(p, what) / getattr(b, what) for p, b in pairs) for what in ("wall", "cpu"))
    print(f"  ratio   {wall:6.2f} x wall {cpu:29.2f} x CPU", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[32, 256])
    parser.add_argument("--latency", type=int, nargs="*", default=[0, 50], help="milliseconds")
    parser.add_argument(
        "--quick", action="store_true", help="one round of the two extremes: for CI, where only the magnitude counts"
    )
    parser.add_argument("--requests", action="store_true", help="show only what a request costs")
    parser.add_argument("--before", default="", metavar="COMMIT", help="compare a request with one at this commit")
    args = parser.parse_args()
    with scripted_endpoint() as endpoint:
        if args.requests:
            request_time.show(endpoint, args.in_flight, args.rounds, requests=3000, before=args.before)
            return
        print(AIMS)
        once(bare, endpoint, 1, 1, 0)
        once(plugin, endpoint, 1, 1, 0)  # so that all modules are compiled
        if args.quick:
            compare(endpoint, tasks=64, in_flight=32, milliseconds=0, rounds=1)
            compare(endpoint, tasks=256, in_flight=256, milliseconds=50, rounds=1)
            request_time.show(endpoint, args.in_flight, rounds=1, requests=1000, before=args.before)
            return
        for in_flight in args.in_flight:
            for milliseconds in args.latency:
                compare(endpoint, max(args.tasks, in_flight), in_flight, milliseconds, args.rounds)
        request_time.show(endpoint, args.in_flight, args.rounds, requests=3000, before=args.before)


if __name__ == "__main__":
    main()

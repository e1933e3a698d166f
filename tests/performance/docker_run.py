"""What a run in containers costs, beside a bare loop on the engine's HTTP API that does the same work.

    .ci/services python tests/performance/docker_run.py [--rounds 3]

The work of `endpoint_run.py`: five tool turns, an answer and one verifier command a task. The bare loop makes an exec
for each command and asks for its exit code. The engine's own CPU is not counted; the same tasks in local sandboxes
show how much more of it containers cost the client. Figures are medians; the ratio is the median of the rounds'.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.performance.endpoint_run import Figures, Program, bare, once, plugin, scripted_endpoint, show
else:
    from endpoint_run import Figures, bare, once, plugin, scripted_endpoint, show

AIMS = "aims: wall <= 1.5 x the bare loop; CPU <= 60 ms a task more than local"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=24)
    parser.add_argument("--in-flight", type=int, default=8)
    args = parser.parse_args()
    image = os.environ["IMAGE"] = os.environ["HERMES_TEST_IMAGE"]

    def in_containers(url: str, tasks: int, in_flight: int) -> list[str]:
        return plugin(url, tasks, in_flight, "--hermes-sandbox=docker", f"--hermes-image={image}")

    programs: dict[str, Program] = {
        "bare": functools.partial(bare, program="bare_docker.py"),
        "docker": in_containers,
        "local": plugin,
    }
    figures: dict[str, list[Figures]] = {name: [] for name in programs}
    print(AIMS)
    with scripted_endpoint() as endpoint:
        for program in programs.values():
            once(program, endpoint, 1, 1, 0)  # so that all modules are compiled
        for _ in range(args.rounds):
            for name, program in programs.items():
                figures[name].append(once(program, endpoint, args.tasks, args.in_flight, 0))
    print(f"{args.tasks} tasks, {args.in_flight} in flight, {args.rounds} rounds")
    for name, runs in figures.items():
        show(name, runs)
    wall = statistics.median(d.wall / b.wall for d, b in zip(figures["docker"], figures["bare"], strict=True))
    more = statistics.median(d.cpu - local.cpu for d, local in zip(figures["docker"], figures["local"], strict=True))
    print(f"  {wall:.2f} x wall of the bare loop, {more:.0f} ms CPU a task more than local")


if __name__ == "__main__":
    main()

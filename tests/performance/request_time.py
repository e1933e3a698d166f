"""What one model call costs in processor time, by the number of calls in flight, now and at an earlier commit.

`endpoint_run.py` shows it. The scripted endpoint answers after 20 ms, and runs in a process of its own, whose processor
time is not counted. Each figure is the median of the rounds, in which the commits take turns.
"""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.performance.endpoint_run import Endpoint

HERE = Path(__file__).parent

#: Milliseconds until an answer.
_LATENCY = 20


def measure(url: str, requests: int, in_flight: int, package: Path | None) -> float:
    """Return the milliseconds that a request takes with a package, or with the one that is installed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    if package is not None:
        environ["PYTHONPATH"] = str(package)
    command = [sys.executable, str(HERE / "request_client.py"), url, str(requests), str(in_flight)]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def unpack(commit: str, folder: Path) -> Path:
    """Write the package as it was at a commit into a folder, and return that."""
    root = HERE.parents[1]
    done = subprocess.run(["git", "-C", root, "archive", commit, "pytest_hermes"], stdout=subprocess.PIPE, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def show(endpoint: Endpoint, in_flight: list[int], rounds: int, requests: int, before: str) -> None:
    """Print the milliseconds of a request, with those at the commit `before` unless that is empty."""
    print("processor time of a request; aims: at most half of before, and the same for any number in flight")
    with tempfile.TemporaryDirectory() as folder:
        packages = {"now": None} if not before else {before: unpack(before, Path(folder)), "now": None}
        for number in in_flight:
            figures: dict[str, list[float]] = {name: [] for name in packages}
            for _ in range(rounds):
                for name, package in packages.items():
                    figures[name].append(measure(endpoint.url(_LATENCY), requests, number, package))
            medians = {name: statistics.median(values) for name, values in figures.items()}
            told = "   ".join(f"{name} {median:5.2f} ms" for name, median in medians.items())
            ratio = f"   ratio {medians['now'] / medians[before]:.2f}" if before else ""
            print(f"  {number:3} in flight   {told}{ratio}", flush=True)

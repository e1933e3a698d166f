"""A limit on open files costs speed, and never a score."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.services.bench import Bench
from tests.services.model_server import ModelServer, Reply, completion

NOTES = """
from pytest_hermes import Benchmark, Task

class Notes(Benchmark):
    name = "notes"

    def tasks(self):
        return [Task(id=f"t{n}", prompt="Note it.") for n in range(TASKS)]

    async def compute_reward(self, item, result, ctx):
        return float(ctx.read_file("notes")["content"] == "noted\\n")
"""

#: Runs pytest with a limit that cannot be raised.
LIMITED = """
import os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
os.execv(sys.executable, [sys.executable, "-m", "pytest", "-q", *sys.argv[2:]])
"""

#: As if nobody had looked how many rollouts there can be.
RECKLESS = """
import pytest_hermes.runs.loading
pytest_hermes.runs.loading.within_open_files = lambda in_flight, *_, **__: (in_flight, [])
"""


def run(bench: Bench, server: ModelServer, *, limit: int, tasks: int) -> str:
    """Run so many tasks, all of them in flight if that can be, at an endpoint that takes its time."""

    work = completion(None, ("terminal", {"command": "echo noted > notes"}))
    server.play(*(Reply(body=json.dumps(said), mood="late", seconds=0.1) for said in (work, completion("Done."))))
    bench.env(PYTEST_HERMES_LOCAL_ISOLATION="none")
    bench.file("notes.py", NOTES.replace("TASKS", str(tasks)))
    bench.file("limited.py", LIMITED)
    _, output = bench.python(
        "limited.py", str(limit), "--hermes-bench=notes.py:Notes", f"-n{tasks}", "--hermes-run-dir=out",
        "--hermes-model=m", f"--hermes-base-url={server.url}", "-v", timeout=280,
    )  # fmt: skip
    return output


@pytest.mark.parametrize(
    ("limit", "tasks"), [(140, 12), pytest.param(256, 300, marks=pytest.mark.slow)], ids=["140", "256"]
)
def test_fewer_rollouts_are_in_flight(bench: Bench, model_server: ModelServer, limit: int, tasks: int) -> None:
    output = run(bench, model_server, limit=limit, tasks=tasks)
    assert f" in flight instead of {tasks}: a process may open {limit} files here (ulimit -Hn)" in output
    records = bench.records()
    assert Counter(record["status"] for record in records) == {"passed": tasks}
    assert not any(record["tool_errors"] or record["retries"] for record in records)


def test_running_out_of_descriptors_is_never_the_agents_fault(bench: Bench, model_server: ModelServer) -> None:
    bench.file("conftest.py", RECKLESS)
    output = run(bench, model_server, limit=80, tasks=12)
    records = bench.records()
    counts = Counter(record["status"] for record in records)
    assert counts["error"] > 0, output
    assert counts["passed"] + counts["error"] == len(records) == 12, output
    assert {record["error"]["kind"] for record in records if record["error"]} <= {"sandbox", "endpoint"}
    assert not any(record["tool_errors"] for record in records)

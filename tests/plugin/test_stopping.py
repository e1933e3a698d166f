"""However a run ends, no process is left and every finished attempt stands in the results."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
import uuid

import pytest

from pytest_hermes.plugin.interrupts import Interrupts
from pytest_hermes.runs.results_file import read_results
from tests.services.bench import Bench, processes_with
from tests.services.waiting import wait_for

LONG = """
from pytest_hermes import Benchmark, Task

class Long(Benchmark):
    '''Some tasks end at once, others never.'''
    name = "long"
    default_model = "oracle"

    def tasks(self):
        for i in range(12):
            command = f"(setsid sleep 300.MARK &) ; sleep 300.MARK & echo {i} > i; "
            yield Task(id=f"t{i}", prompt="", solution=command + ("sleep 300.MARK" if i % 3 == 2 else "true"))

    async def compute_reward(self, item, result, ctx):
        return 1.0
"""


@pytest.fixture
def marker(bench: Bench) -> str:
    """A number that every command of the benchmark has among its arguments."""
    marker = str(uuid.uuid4().int)[:12]
    bench.file("long.py", LONG.replace("MARK", marker))
    return marker


def start(bench: Bench, *arguments: str) -> subprocess.Popen[str]:
    return bench.start("--hermes-bench=long.py:Long", "--hermes-run-dir=out", "-n8", *arguments)


def finished(bench: Bench) -> int:
    path = bench.path / "out" / "results.jsonl"
    return len(list(read_results(path))) if path.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt(bench: Bench, marker: str, number: int) -> None:
    process = start(bench)
    assert wait_for(lambda: finished(bench) >= 4), "nothing finished"
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "KeyboardInterrupt" in output
    assert "attempts did not finish and are not counted" in output
    assert "results   out/results.jsonl" in output
    assert processes_with(marker) == []
    records = list(read_results(bench.path / "out" / "results.jsonl"))
    assert {record.status for record in records} == {"passed"}
    assert len({record.task for record in records}) == len(records) >= 4


def test_a_terminal_that_hangs_up(bench: Bench, marker: str) -> None:
    process = bench.on_a_terminal("--hermes-bench=long.py:Long", "--hermes-run-dir=out", "-n8")
    assert wait_for(lambda: finished(bench) >= 4), "nothing finished"
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), process.child_fd)
    assert wait_for(lambda: not process.isalive(), 30)
    assert processes_with(marker) == []
    assert finished(bench) >= 4


def test_a_hangup_that_is_ignored(bench: Bench, marker: str) -> None:
    bench.file(
        "nohup.py",
        "import signal, sys, pytest\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\nsys.exit(pytest.main())\n",
    )
    process = bench.start_python("nohup.py", "--hermes-bench=long.py:Long", "--hermes-run-dir=out", "-n8")
    assert wait_for(lambda: finished(bench) >= 4), "nothing finished"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == pytest.ExitCode.INTERRUPTED


@pytest.mark.parametrize(("pause", "arguments"), [(0.05, ()), (0.2, ("--hermes-procs=2",))])
def test_interrupted_twice(bench: Bench, marker: str, pause: float, arguments: tuple[str, ...]) -> None:
    """As a terminal does it: every process of the group gets the signal."""
    process = start(bench, *arguments)
    assert wait_for(lambda: finished(bench) >= 4), "nothing finished"
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(pause)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "Traceback" not in output
    assert "results   out/results.jsonl" in output
    assert wait_for(lambda: processes_with(marker) == [], 5)
    records = list(read_results(bench.path / "out" / "results.jsonl"))
    assert {record.error.kind for record in records if record.error} <= {"interrupted"}
    assert len({record.task for record in records}) == len(records) >= 4


WHILE_WORKERS_START = """
import os, pathlib, signal, threading, time

def press():
    while not any(path.read_text() for path in pathlib.Path("/proc/self/task").glob("*/children")):
        time.sleep(0.001)
    time.sleep(0.05)  # a Python that starts
    os.killpg(0, signal.SIGINT)

def pytest_xdist_setupnodes():
    threading.Thread(target=press, daemon=True).start()
"""


def test_interrupted_while_workers_start(bench: Bench, marker: str) -> None:
    bench.file("conftest.py", WHILE_WORKERS_START)
    output, _ = (process := start(bench, "--hermes-procs=2")).communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "Traceback" not in output
    assert processes_with(marker) == []


HANGS = """
import os, time
from pytest_hermes.plugin import interrupts

def pytest_keyboard_interrupt():
    open("hangs", "w").close()
    while not os.path.exists("long-enough"):
        time.sleep(0.05)
    interrupts._PATIENCE = 0
    open("is-long-enough", "w").close()
    time.sleep(600)
"""


def test_what_hangs_while_a_session_ends_can_be_left(bench: Bench, marker: str) -> None:
    bench.file("conftest.py", HANGS)
    process = start(bench)
    assert wait_for(lambda: finished(bench) >= 4), "nothing finished"
    process.send_signal(signal.SIGINT)
    assert wait_for((bench.path / "hangs").exists)
    process.send_signal(signal.SIGINT)
    bench.file("long-enough", "")
    assert wait_for((bench.path / "is-long-enough").exists)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "hermes: the run ends and its sandboxes close; after 10 seconds, Ctrl-C leaves at once" in output
    assert "Traceback" not in output
    assert wait_for(lambda: processes_with(marker) == [], 5)
    assert finished(bench) >= 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_catches_an_interrupt_does_not_make_the_next_one_harmless(number: signal.Signals) -> None:
    hurried: list[int] = []
    interrupts = Interrupts(tells=False)
    interrupts.on_second(lambda: hurried.append(1))
    before = signal.getsignal(number)
    interrupts.install()
    try:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
            signal.raise_signal(signal.SIGTERM)
            interrupts.session_continues()
    finally:
        interrupts.restore()
    assert signal.getsignal(number) == before
    assert hurried == [1, 1]


def test_exit_first(bench: Bench, marker: str) -> None:
    bench.file("conftest.py", "import pytest\n@pytest.fixture(autouse=True)\ndef fail(rollout): raise OSError\n")
    process = start(bench, "-x")
    process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.TESTS_FAILED
    assert finished(bench) >= 1
    assert processes_with(marker) == []


def test_killed_at_random_instants(bench: Bench, marker: str) -> None:
    chance = random.Random(marker)
    path = bench.path / "out" / "results.jsonl"
    for _ in range(20):
        process = start(bench)
        time.sleep(chance.uniform(0.3, 2.0))
        process.kill()
        process.communicate()
        assert wait_for(lambda: processes_with(marker) == [], 5), processes_with(marker)
    if path.exists():
        for record in read_results(path):
            assert record.status == "passed"


def test_killed(bench: Bench, marker: str) -> None:
    process = start(bench)
    assert wait_for(lambda: finished(bench) >= 4 and processes_with(marker)), "nothing finished"
    process.kill()
    process.communicate()
    assert wait_for(lambda: processes_with(marker) == [], 5), processes_with(marker)
    assert finished(bench) >= 4


LEAVES_FILES = """
import pathlib, time
from pytest_hermes import Benchmark, Task, Verdict
from pytest_hermes.runs.results_file import ResultsFile

keep = ResultsFile.keep_files

def keep_slowly(self, record, files):
    pathlib.Path("keeping").touch()
    time.sleep(1)
    keep(self, record, files)

ResultsFile.keep_files = keep_slowly

class LeavesFiles(Benchmark):
    name = "leaves_files"
    default_model = "nop"

    def tasks(self):
        return [Task(id="one", prompt="")]

    async def compute_reward(self, item, result, ctx):
        return Verdict(reward=1.0, files={"log": b"1"})
"""


def test_what_is_being_written_down_is_written_down(bench: Bench) -> None:
    bench.file("leaves_files.py", LEAVES_FILES)
    process = bench.start("--hermes-bench=leaves_files.py:LeavesFiles", "--hermes-run-dir=out")
    assert wait_for((bench.path / "keeping").exists)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert [record["status"] for record in bench.records()] == ["passed"]
    assert (bench.path / "out" / "verifier" / "leaves_files" / "one@1" / "log").read_text() == "1"

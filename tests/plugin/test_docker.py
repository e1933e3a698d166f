"""Benchmarks in containers: as on the command line, and however a run ends."""

from __future__ import annotations

import json
import random
import signal
import time

import docker
import pytest

from pytest_hermes.sandbox.docker.owner import LABEL
from tests.services.bench import Bench

#: Both prepare and verify in the container, so that a kill may hit either.
WORK = """
from pathlib import Path
from pytest_hermes import Benchmark, SandboxSpec, Task

class Work(Benchmark):
    '''Tasks in containers, one in three from an image that is built.'''
    name = "work"
    default_model = "oracle"

    def tasks(self):
        for i in range(30):
            spec = SandboxSpec(build_context=Path(__file__).parent / "context") if i % 3 == 0 else SandboxSpec()
            solution = "(setsid sleep 300 &); sleep 0.1"
            yield Task(id=f"t{i}", prompt="", files={"in": "1"}, solution=solution, sandbox=spec)

    async def compute_reward(self, item, result, ctx):
        ctx.terminal("sleep 0.2")
        return float(ctx.read_file("in")["content"] == "1")
"""


@pytest.fixture
def work(bench: Bench, docker_image: str) -> list[str]:
    """The arguments that run the benchmark above."""
    bench.file("work.py", WORK)
    bench.file("context/Dockerfile", f"FROM {docker_image}\nRUN echo {random.random()} >/made && sleep 0.5\n")
    return ["--hermes-bench=work.py:Work", "--hermes-sandbox=docker", f"--hermes-image={docker_image}"]


def test_the_bundled_benchmark_is_solved_in_containers(
    bench: Bench, docker_image: str, docker_engine: docker.APIClient
) -> None:
    result = bench.run(
        "--hermes-bench=terminal_test",
        "--hermes-sandbox=docker",
        f"--hermes-image={docker_image}",
        "--hermes-sandbox-network=none",
        "-n8",
        "--hermes-run-dir=out",
    )
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            f"hermes: sandbox docker *, image {docker_image} unless a task names one, no network, 8 rollouts in *",
            "passed    16 of 16 (100.0%)",
        ]
    )
    assert {record["status"] for record in bench.records()} == {"passed"}


def test_processes_share_an_engine(bench: Bench, work: list[str]) -> None:
    result = bench.run(*work, "--hermes-procs=2", "-n6", "--hermes-task=t?", "--hermes-run-dir=out")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["passed    10 of 10 (100.0%)"])


def test_the_sandbox_fixture_is_a_container(bench: Bench, docker_image: str) -> None:
    command = "terminal('cat /.dockerenv')"
    bench.file("test_own.py", f"def test_own(tool_context):\n    assert tool_context.{command}['exit_code'] == 0\n")
    result = bench.run_inside("--hermes-sandbox=docker", f"--hermes-image={docker_image}")
    assert result.ret == 0, result.stdout.str()


def test_a_missing_engine_is_one_line(bench: Bench) -> None:
    bench.env(DOCKER_HOST="unix:///nowhere/docker.sock")
    result = bench.run_inside("--hermes-bench=terminal_test", "--hermes-sandbox=docker")
    assert result.ret == 4
    assert result.stderr.str().strip() == (
        "ERROR: there is no Docker engine at unix:///nowhere/docker.sock (No such file or directory); "
        "start Docker, or set DOCKER_HOST to a running engine"
    )


def test_a_missing_image_ends_the_run_with_one_line(bench: Bench, docker_image: str) -> None:
    result = bench.run_inside(
        "--hermes-bench=terminal_test", "--hermes-sandbox=docker", "--hermes-image=127.0.0.1:9/none:1", "-n4"
    )
    assert result.ret != 0
    text = result.stdout.str() + result.stderr.str()
    assert text.count("the image '127.0.0.1:9/none:1' is not on this Docker engine and cannot be pulled") == 1
    assert "; name another with --hermes-image" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hermes-image=x"], "the sandbox 'local' cannot run images such as 'x'; choose --hermes-sandbox=docker"),
        (["--hermes-sandbox-network=nne"], "--hermes-sandbox-network='nne': must be 'none' or 'default'"),
        (
            ["--hermes-set", "env.terminal_options={shm_size: 1g}"],
            "--hermes-set: unknown option of the local sandbox 'shm_size'; known: bind, ro_bind",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(bench: Bench, arguments: list[str], message: str) -> None:
    result = bench.run_inside("--hermes-bench=terminal_test", *arguments)
    assert result.ret == 4
    assert result.stderr.str().strip().splitlines() == [f"ERROR: {message}"]


def test_the_record_of_a_skipped_task_says_what_the_engine_lacks(bench: Bench, docker_image: str) -> None:
    bench.file(
        "big.py",
        WORK.replace("SandboxSpec()", "SandboxSpec(cpus=4096)").replace("range(30)", "range(1, 3)"),
    )
    arguments = ["--hermes-bench=big.py:Work", "--hermes-sandbox=docker", f"--hermes-image={docker_image}"]
    result = bench.run_inside(*arguments, "--hermes-run-dir=out", "-rs")
    result.stdout.fnmatch_lines(["SKIPPED * the task needs 4096 cpus, the machine of this Docker engine has *"])


def test_ctrl_c_leaves_no_container(bench: Bench, work: list[str], docker_engine: docker.APIClient) -> None:
    process = bench.start(*work, "-n6", "--hermes-run-dir=out")
    wait_for_containers(docker_engine, process.pid)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert containers_of(docker_engine, process.pid) == []


def test_a_kill_at_any_moment_leaves_no_container(
    bench: Bench, work: list[str], docker_engine: docker.APIClient
) -> None:
    for number in range(4):
        process = bench.start(*work, "-n6", f"--hermes-run-dir=out{number}")
        wait_for_containers(docker_engine, process.pid)
        time.sleep(random.uniform(0, 2))
        assert process.poll() is None
        process.kill()
        process.communicate()
        time.sleep(2)
        assert containers_of(docker_engine, process.pid) == []


def containers_of(docker_engine: docker.APIClient, pid: int) -> list[str]:
    listed = docker_engine.containers(all=True, filters={"label": LABEL})
    return [json.dumps(entry["Labels"]) for entry in listed if entry["Labels"][LABEL].split(":")[1] == str(pid)]


def wait_for_containers(docker_engine: docker.APIClient, pid: int) -> None:
    end = time.monotonic() + 30
    while not containers_of(docker_engine, pid):
        assert time.monotonic() < end
        time.sleep(0.02)

"""Bad input gets one clear line and no traceback, and nothing runs."""

from __future__ import annotations

import pytest

from tests.plugin.test_main_job import MINE
from tests.services.bench import Bench

BENCH = "--hermes-bench=terminal_test"
INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--hermes-bench=terminal_tst",), "unknown benchmark 'terminal_tst'; did you mean 'terminal_test'? known: *"),
        (("--hermes-bench=gone.py:X",), "no such file: gone.py; *"),
        (
            ("--hermes-bench=mine.py:Mine",),
            "benchmark 'mine' needs a model: add --hermes-model=NAME and set OPENROUTER*",
        ),
        (("--hermes-bench=mine.py:Mine,./mine.py:Mine",), "two benchmarks are called 'mine'*"),
        ((BENCH, "--hermes-model=gpt-5"), "no endpoint for model 'gpt-5': set OPENROUTER_API_KEY, or OPENAI_API_KEY*"),
        ((BENCH, "--hermes-base-url=http://localhost:1/v1"), "*needs a model: add --hermes-model=NAME"),
        ((BENCH, "--hermes-model=m", "--hermes-base-url=localhost"), "base URL 'localhost' is not an http(s) address*"),
        (
            (BENCH, "--hermes-model=m", "--hermes-base-url=https://openrouter.ai/api/v1"),
            "https://openrouter.ai/api/v1 needs a key: set OPENROUTER_API_KEY",
        ),
        ((BENCH, "--hermes-task=create-fil"), "unknown task 'create-fil'; did you mean 'create-file'? known: *"),
        ((BENCH, "--hermes-skip-task=*"), "no task is left: *"),
        ((BENCH, "--hermes-sandbox=lokal"), "unknown sandbox 'lokal'; did you mean 'local'? known: *"),
        ((BENCH, "--hermes-sandbox=modal"), "*modal*"),
        ((BENCH, "--hermes-concurrency=0"), "--hermes-concurrency='0': must be a whole number of at least 1"),
        ((BENCH, "--hermes-attempts=x"), "--hermes-attempts='x': must be a whole number of at least 1"),
        ((BENCH, "--hermes-task-timeout=-3"), "--hermes-task-timeout='-3': must be a number of seconds greater than 0"),
        ((BENCH, "--hermes-run-dir=mine.py/x"), "cannot write results to *--hermes-run-dir"),
        ((BENCH, "-p", "no:xdist", "-n4"), "-n4 is an option of pytest-xdist*use --hermes-concurrency=N*"),
        (("--hermes-benhc=terminal_test",), "unknown option --hermes-benhc; did you mean --hermes-bench[?]"),
        (("--hermes-task=create-file",), "--hermes-task needs a benchmark: name it with --hermes-bench"),
        (("--hermes-resume=out",), "--hermes-resume needs a benchmark: name it with --hermes-bench"),
        (
            ("mine::test_task[a]",),
            "*no benchmark called 'mine' is installed; *--hermes-bench=path*",
        ),
        (("terminal_test::test_task[create-fil]",), "unknown task 'create-fil'; did you mean 'create-file'? known: *"),
    ],
)
def test_one_clear_line(bench: Bench, arguments: tuple[str, ...], message: str) -> None:
    bench.file("mine.py", MINE)
    result = bench.run_inside(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    problem = [line for line in result.errlines if line.strip()]
    assert len(problem) == 1, problem
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert not list(bench.path.glob("hermes-runs/*"))


def test_a_bad_value_of_the_environment_names_the_variable(bench: Bench) -> None:
    bench.env(PYTEST_HERMES_CONCURRENCY="many")
    bench.run_inside(BENCH).stderr.fnmatch_lines(["ERROR: PYTEST_HERMES_CONCURRENCY='many': must be a whole number*"])


def test_an_isolation_that_does_not_exist_names_those_that_do(bench: Bench) -> None:
    bench.env(PYTEST_HERMES_LOCAL_ISOLATION="nil")
    result = bench.run_inside(BENCH, "--co")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: PYTEST_HERMES_LOCAL_ISOLATION: unknown isolation 'nil'; known: auto, *"])


def test_a_bad_value_of_the_ini_file_names_the_key(bench: Bench) -> None:
    bench.file("pytest.ini", "[pytest]\nhermes_attempts = none\n")
    bench.run_inside(BENCH).stderr.fnmatch_lines(["ERROR: ini key hermes_attempts='none': must be a whole number*"])


def test_the_command_line_wins_over_the_environment_and_that_over_the_ini_file(bench: Bench) -> None:
    def in_flight(*arguments: str) -> str:
        lines = bench.run_inside(BENCH, "--co", *arguments).outlines
        return next(line for line in lines if "in flight" in line).split(", ")[-1]

    assert in_flight() == "4 rollouts in flight in 1 process"
    bench.file("pytest.ini", f"{INI}hermes_concurrency = 5\n")
    assert in_flight() == "5 rollouts in flight in 1 process"
    bench.env(PYTEST_HERMES_CONCURRENCY="6")
    assert in_flight() == "6 rollouts in flight in 1 process"
    assert in_flight("--hermes-concurrency=7") == "7 rollouts in flight in 1 process"


def test_a_benchmark_may_come_from_the_ini_file(bench: Bench) -> None:
    bench.file("pytest.ini", f"{INI}hermes_bench = terminal_test\nhermes_task = create-*\n    edit-json\n")
    bench.run_inside().assert_outcomes(passed=2)


def test_list_names_benchmarks_and_tasks(bench: Bench) -> None:
    result = bench.run_inside("--hermes-list")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["terminal_test *Small terminal and file tasks*", "run one:*--hermes-bench=NAME"])
    result = bench.run_inside("--hermes-list", BENCH, "--hermes-task=e*")
    result.stdout.fnmatch_lines(["terminal_test: 3 tasks", "  edit-one-line*files, easy, edit"])


def test_help_teaches_every_option(bench: Bench) -> None:
    text = " ".join(bench.run_inside("--help").stdout.str().split())
    for name in ("bench", "list", "task", "skip-task", "model", "base-url", "sandbox", "concurrency", "attempts"):
        assert f"--hermes-{name}" in text
    assert "[ini: hermes_task_timeout, env: PYTEST_HERMES_TASK_TIMEOUT]" in text

"""`pytest --hermes-bench=…` as a user sees it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from tests.services.bench import Bench
from tests.services.model_server import ModelServer, Reply, completion

MINE = """
from pytest_hermes import Benchmark, Task

class Mine(Benchmark):
    '''A benchmark of my own.'''
    name = "mine"

    def tasks(self):
        return [
            Task(id="good", prompt="Write 1 to x.", solution="echo 1 > x", category="c1", difficulty="easy"),
            Task(id="half", prompt="Write 2 to x.", solution="echo 2 > x", category="c2", difficulty="hard",
                 tags=("odd",)),
            Task(id="lenient", prompt="Write 2 to x.", solution="echo 2 > x", threshold=0.5),
        ]

    async def compute_reward(self, item, result, ctx) -> float:
        return 1.0 if ctx.read_file("x").get("content") == "1\\n" else 0.5
"""

PARALLEL = pytest.mark.parametrize(
    "mode",
    [("-n0",), ("-n2",), ("-p", "no:xdist", "--hermes-concurrency=3"), ()],
    ids=["n0", "n2", "no-xdist", "plain"],
)


@PARALLEL
def test_terminal_test_passes_with_the_oracle_and_without_a_key(bench: Bench, mode: tuple[str, ...]) -> None:
    result = bench.run("--hermes-bench=terminal_test", "--hermes-run-dir=out", *mode)
    result.assert_outcomes(passed=16)
    assert result.ret == 0
    records = bench.records()
    assert len({record["task"] for record in records}) == len(records) == 16
    assert {record["status"] for record in records} == {"passed"}
    assert {record["model"] for record in records} == {"oracle"}
    assert len({record["run_id"] for record in records}) == 1


def test_every_task_fails_with_nop(bench: Bench) -> None:
    result = bench.run("--hermes-bench=terminal_test", "--hermes-model=nop", "-n", "8", "--hermes-run-dir=out")
    result.assert_outcomes(failed=16)
    assert result.ret == 1
    assert {record["status"] for record in bench.records()} == {"failed"}


def test_without_bubblewrap(bench: Bench) -> None:
    bench.hide_bubblewrap()
    result = bench.run("--hermes-bench=terminal_test", "-n", "8")
    result.assert_outcomes(passed=16)
    result.stdout.fnmatch_lines(["hermes: sandbox local (no isolation*"])
    bench.run("--hermes-bench=terminal_test", "-n", "8", "--hermes-model=nop").assert_outcomes(failed=16)


def test_header_and_summary(bench: Bench) -> None:
    result = bench.run("--hermes-bench=terminal_test", "-n", "8", "--hermes-run-dir=out")
    result.stdout.fnmatch_lines(
        [
            "hermes: terminal_test, 16 tasks, model oracle*",
            "hermes: sandbox local (*), 8 rollouts in flight in 1 process",
            "*collected 16 items",
            "terminal_test ................*",
            "score     1.000  (95 % interval 0.806 to 1.000, n = 16)",
            "passed    16 of 16 (100.0%)",
            "errors    0",
            "category   score    passed  errors",
            "files      1.000*",
            "difficulty*",
            "tokens    0 in, 0 out, in 32 turns",
            "time      *in rollouts: model *, tools *, verifier *, sandbox start *",
            "results   out/results.jsonl",
        ],
        consecutive=False,
    )
    result.stdout.no_fnmatch_line("*Warning*")


def test_own_benchmark_in_one_file(bench: Bench) -> None:
    bench.file("sub/mine.py", MINE)
    result = bench.run_inside("--hermes-bench=sub/mine.py:Mine", "--hermes-model=oracle", "--hermes-run-dir=out", "-v")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines_random(
        [
            "mine::test_task?good? PASSED*",
            "mine::test_task?half? FAILED*",
            "mine::test_task?lenient? PASSED*",
            "reward 0.5 is below the threshold 1; 2 turns, the agent finished",
        ]
    )
    rewards = {record["task"]: record["reward"] for record in bench.records()}
    assert rewards == {"good": 1.0, "half": 0.5, "lenient": 0.5}


def test_without_a_path_only_the_benchmark_is_collected(bench: Bench) -> None:
    bench.file("test_own.py", "def test_mine(): pass")
    bench.run_inside("--hermes-bench=terminal_test", "--hermes-task=create-file").assert_outcomes(passed=1)
    bench.run_inside("--hermes-bench=terminal_test", "--hermes-task=create-file", "test_own.py").assert_outcomes(
        passed=2
    )
    bench.run_inside().assert_outcomes(passed=1)


def test_an_id_pasted_from_the_output_runs_again(bench: Bench) -> None:
    result = bench.run_inside("--hermes-bench=terminal_test", "--hermes-model=nop", "--hermes-task=edit-*")
    pasted = re.findall(r"FAILED (\S+)", result.stdout.str())
    assert sorted(pasted) == ["terminal_test::test_task[edit-json]", "terminal_test::test_task[edit-one-line]"]
    bench.run_inside("--hermes-bench=terminal_test", pasted[0]).assert_outcomes(passed=1)
    bench.run_inside(*pasted).assert_outcomes(passed=2)  # the id alone says which benchmark
    bench.run_inside("terminal_test::test_task").assert_outcomes(passed=16)


def test_an_id_pasted_from_a_folder_below_the_root(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.path / "below").mkdir()
    monkeypatch.chdir(bench.path / "below")
    result = bench.run_inside("--hermes-bench=terminal_test", "--hermes-model=nop", "--hermes-task=create-file")
    (pasted,) = re.findall(r"FAILED (\S+)", result.stdout.str())
    bench.run_inside(pasted).assert_outcomes(passed=1)


def test_attempts_are_items_of_their_own(bench: Bench) -> None:
    arguments = ("--hermes-bench=terminal_test", "--hermes-task=create-file,clean-up", "--hermes-run-dir=out")
    result = bench.run_inside(*arguments, "--hermes-attempts=3", "-v")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines_random(["terminal_test::test_task?create-file@2? PASSED*", "score*n = 6, 2 tasks)"])
    assert sorted((r["task"], r["attempt"]) for r in bench.records()) == [
        (task, attempt) for task in ("clean-up", "create-file") for attempt in (1, 2, 3)
    ]
    bench.run_inside("terminal_test::test_task[create-file@3]").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("expression", "count"), [("easy and not create", 3), ("unicode", 1), ("scripts", 2), ("terminal_test and hard", 1)]
)
def test_category_difficulty_and_tags_are_keywords(bench: Bench, expression: str, count: int) -> None:
    result = bench.run_inside("--hermes-bench=terminal_test", "-k", expression, "--co", "-q")
    assert sum("test_task[" in line for line in result.outlines) == count


def test_several_benchmarks_in_one_run(bench: Bench) -> None:
    bench.file("mine.py", MINE)
    bench.file(
        "conftest.py",
        """
        import pytest
        @pytest.fixture(scope="module", autouse=True)
        def once():
            print("set up")
            yield
        """.replace("\n        ", "\n"),
    )
    result = bench.run_inside(
        "--hermes-bench=terminal_test", "--hermes-bench", "mine.py:Mine", "--hermes-model=oracle", "-n6", "-s"
    )
    result.assert_outcomes(passed=18, failed=1)
    assert result.stdout.str().count("set up") == 1
    result.stdout.fnmatch_lines(["*= terminal_test, oracle =*", "*= mine, oracle =*"])


def test_against_an_endpoint(bench: Bench, model_server: ModelServer) -> None:
    bench.env(PYTEST_HERMES_API_KEY="sesame-open-the-door", OPENAI_API_KEY="planted-key-of-openai")
    model_server.play(
        completion(None, ("write_file", {"path": "greeting.txt", "content": "Hello, world!"}), reasoning="Hm."),
        completion("I wrote it with sesame-open-the-door."),
    )
    result = bench.run(
        "--hermes-bench=terminal_test",
        "--hermes-task=create-file",
        f"--hermes-base-url={model_server.url}",
        "--hermes-model=tiny",
        "--hermes-run-dir=out",
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [f"hermes: terminal_test, 1 task, model tiny at {model_server.url}", "tokens    200 in*"]
    )
    assert {request.headers["authorization"] for request in model_server.requests} == {"Bearer sesame-open-the-door"}
    (record,) = bench.records()
    assert record["messages"][-1]["content"] == "I wrote it with [redacted]."
    assert record["reasoning_per_turn"] == ["Hm.", None]
    assert record["usage"]["prompt_tokens"] == 200
    assert record["turns_used"] == 2
    assert record["finished_naturally"] is True
    assert record["seconds"]["model"] > 0
    assert record["started"] < record["ended"]
    text = (bench.path / "out" / "results.jsonl").read_text()
    assert "sesame" not in text
    assert "planted" not in text


def test_a_fault_of_the_endpoint_is_an_error_and_not_in_the_score(bench: Bench, model_server: ModelServer) -> None:
    def script(body: dict[str, object]) -> object:
        if "poem" in str(body["messages"]):
            return Reply(400, '{"error": {"message": "the backend fell over"}}')
        return completion("Nothing to do.")

    model_server.script = script  # type: ignore[assignment]
    result = bench.run_inside(
        "--hermes-bench=terminal_test",
        "--hermes-task=create-file,blank-line",
        f"--hermes-base-url={model_server.url}",
        "--hermes-model=tiny",
        "--hermes-run-dir=out",
        "--junitxml=junit.xml",
    )
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines_random(
        [
            f"endpoint error: {model_server.url} answered 400: the backend fell over",
            "score     0.000*n = 1)",
            "errors    1 (endpoint 1), not in the score; score with errors as 0: 0.000",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    statuses = {record["task"]: (record["status"], record["reward"]) for record in bench.records()}
    assert statuses == {"create-file": ("failed", 0.0), "blank-line": ("error", None)}
    cases = {
        case.attrib["name"]: {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")}
        for case in ElementTree.parse(bench.path / "junit.xml").iter("testcase")
    }
    assert cases["test_task[create-file]"] == {"reward": "0.0", "turns": "1", "tokens": "110", "attempt": "1"}
    assert cases["test_task[blank-line]"] == {"turns": "0", "tokens": "0", "attempt": "1", "error_kind": "endpoint"}


def test_benchmark_code_that_raises_is_an_error_with_its_location(bench: Bench) -> None:
    bench.file("mine.py", MINE.replace("return 1.0 if", "raise KeyError('oops') if"))
    result = bench.run_inside("--hermes-bench=mine.py:Mine", "--hermes-model=oracle", "--hermes-task=good")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["verifier error: compute_reward raised KeyError: 'oops'", '*mine.py", line *, in compute_reward', "*KeyError*"]
    )


@pytest.mark.parametrize("value", ["None", "float('nan')", "'1'", "float('inf')"])
def test_a_reward_that_is_no_number_is_an_error(bench: Bench, value: str) -> None:
    bench.file("mine.py", MINE.replace("return 1.0 if", f"return {value} if"))
    result = bench.run_inside("--hermes-bench=mine.py:Mine", "--hermes-model=oracle", "--hermes-task=good")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["verifier error: compute_reward returned *; it must return a finite number"])


def test_a_task_without_solution_is_skipped_by_the_oracle(bench: Bench) -> None:
    bench.file("mine.py", MINE.replace('solution="echo 1 > x", ', ""))
    result = bench.run_inside("--hermes-bench=mine.py:Mine", "--hermes-model=oracle", "--hermes-task=good", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*the task has no reference solution for the oracle to play*"])


def test_a_task_that_needs_an_image_is_skipped_on_local(bench: Bench) -> None:
    source = MINE.replace("from pytest_hermes import", "from pytest_hermes import SandboxSpec,")
    bench.file(
        "mine.py", source.replace('solution="echo 1', 'sandbox=SandboxSpec(image="debian:12"), solution="echo 1')
    )
    result = bench.run_inside("--hermes-bench=mine.py:Mine", "--hermes-model=oracle", "--hermes-task=good", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*image*--hermes-sandbox=docker*"])

"""An endpoint in every mood, and what its user sees: outcome, record, summary, exit code."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from typing import Any

import pytest

from pytest_hermes.models import retry
from tests.services.bench import Bench
from tests.services.model_server import ModelServer, Reply, completion

KEY = "sesame-open-the-door"

#: Two tasks that pass when their first command is right; none of it is a matter of time.
MINE = """
from pytest_hermes import Benchmark, Task

class Mine(Benchmark):
    name = "mine"

    def tasks(self):
        return [Task(id=f"t{i}", prompt=f"Task number {i}.", solution="echo 1 > x") for i in range(N)]

    async def compute_reward(self, item, result, ctx) -> float:
        return 1.0 if ctx.read_file("x").get("content") == "1\\n" else 0.0
"""

WORK = completion(None, ("terminal", {"command": "echo 1 > x"}))
DONE = completion("Done.")
WHOLE = json.dumps(DONE)

#: name -> the fault, and the message about it.
TRANSIENT = {
    "500": (Reply(500, '{"error": {"message": "it fell over\\nat line 7"}}'), "answered 500: it fell over (3 tries)"),
    "429": (Reply(429, '{"error": {"message": "slow down"}}'), "answered 429: slow down (3 tries)"),
    "429 with Retry-After": (
        Reply(429, '{"error": {"message": "slow down"}}', headers={"Retry-After": "0"}),
        "answered 429: slow down (3 tries)",
    ),
    "503": (Reply(503), "answered 503: Service Unavailable (3 tries)"),
    "hang": (Reply(mood="hang"), "did not answer within 0.5 s (3 tries)"),
    "trickle": (Reply(body=WHOLE, mood="trickle", seconds=0.02), "did not answer within 0.5 s (3 tries)"),
    "reset": (Reply(mood="reset"), "broke: Connection reset by peer (3 tries)"),
    "half a body": (Reply(body=WHOLE, mood="half"), "broke: peer closed connection*(3 tries)"),
}
FINAL = {
    "garbage": (
        Reply(body="<html>Please log in</html>", content_type="text/html"),
        "is not a chat completion: '<html>Please log in</html>'",
    ),
    "half a JSON": (Reply(body=WHOLE[:40]), "is not a chat completion: *"),
    "429 for a day": (
        Reply(429, "later", headers={"Retry-After": "86400"}),
        "answered 429: later (it asks to wait 86400 s*",
    ),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the number of tries and take out the waits."""
    monkeypatch.setattr(retry, "DEFAULT", retry.RetryPolicy(tries=3, base=0.01))


def run(bench: Bench, server: ModelServer, *arguments: str, tasks: int = 2) -> pytest.RunResult:
    bench.env(PYTEST_HERMES_API_KEY=KEY)
    bench.file("mine.py", MINE.replace("N)", f"{tasks})"))
    return bench.run_inside(
        "--hermes-bench=mine.py:Mine",
        f"--hermes-base-url={server.url}",
        "--hermes-model=tiny",
        "--hermes-run-dir=out",
        "--hermes-request-timeout=0.5",
        *arguments,
    )


def by_task(bench: Bench) -> dict[str, dict[str, Any]]:
    records = bench.records()
    assert len({record["task"] for record in records}) == len(records)
    return {record["task"]: record for record in records}


def turn(body: dict[str, Any]) -> int:
    return sum(message["role"] == "assistant" for message in body["messages"])


def task_number(body: dict[str, Any]) -> int:
    return int(body["messages"][0]["content"].split()[-1].rstrip("."))


def test_a_fault_that_stays_is_an_error_of_its_attempt(bench: Bench, model_server: ModelServer) -> None:
    """One attempt for each fault, and one that goes well: errors are excluded from the score and printed beside it."""
    faults = [*TRANSIENT.values(), *FINAL.values()]

    def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
        number = task_number(body)
        return WORK if turn(body) == 0 else DONE if number == len(faults) else faults[number][0]

    model_server.script = script
    result = run(bench, model_server, tasks=len(faults) + 1)
    result.assert_outcomes(passed=1, errors=11)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines_random([f"endpoint error: *{model_server.url} {problem}" for _, problem in faults])
    assert result.outlines.count("after 1 turn, 110 tokens") == 11
    result.stdout.fnmatch_lines(
        [
            "score     1.000*n = 1)",
            "passed    1 of 1 (100.0%)",
            "errors    11 (endpoint 11), not in the score; score with errors as 0: 0.083",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    records = by_task(bench)
    assert records.pop("t11")["status"] == "passed"
    for number, (_, problem) in enumerate(faults):
        record = records[f"t{number}"]
        assert (record["status"], record["reward"], record["error"]["kind"]) == ("error", None, "endpoint")
        assert fnmatch(record["error"]["message"], f"*{model_server.url} {problem}")
        assert len(record["error"]["message"].splitlines()) == 1
        assert record["turns_used"] == 1
        assert [message["role"] for message in record["messages"]] == ["user", "assistant", "tool"]


def test_a_fault_that_passes_is_not_the_agent_s_concern(bench: Bench, model_server: ModelServer) -> None:
    left = [[fault, fault] for fault, _ in TRANSIENT.values()]

    def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
        if turn(body) == 0:
            return WORK
        faults = left[task_number(body)]
        return faults.pop() if faults else DONE

    model_server.script = script
    result = run(bench, model_server, tasks=8)
    result.assert_outcomes(passed=8)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["errors    0", "retries   16 requests repeated after a fault of the endpoint"])
    for record in by_task(bench).values():
        assert (record["turns_used"], record["retries"], record["stop_reason"]) == (2, 2, "finished")
        assert record["usage"]["prompt_tokens"] == 200
        assert record["seconds"]["backoff"] > 0


def test_waiting_for_an_endpoint_does_not_make_an_agent_late(bench: Bench, model_server: ModelServer) -> None:
    left = [Reply(429, headers={"Retry-After": "3"})]

    def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
        if turn(body) == 0:
            return WORK
        return left.pop() if left else DONE

    model_server.script = script
    result = run(bench, model_server, "--hermes-task-timeout=2.5", tasks=1)
    result.assert_outcomes(passed=1)
    (record,) = bench.records()
    assert record["stop_reason"] == "finished"
    assert record["seconds"]["backoff"] >= 3
    assert record["seconds"]["model"] < 2.5


def test_whose_the_time_was_shows_when_a_request_ends(bench: Bench, model_server: ModelServer) -> None:
    """All outlast their agents' time: two endpoints that hang for good, one that does so once, and a slow model."""
    hung: list[int] = []

    def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
        asked = str(body["messages"][0])
        if "number 0" in asked or ("number 1" in asked and turn(body) == 1):
            return Reply(mood="hang")
        if turn(body) == 0:
            return WORK
        if "number 2" in asked and not hung:
            hung.append(1)
            return Reply(mood="hang")
        slow = completion(None, ("terminal", {"command": "echo 2 > x"}))
        return DONE if "number 2" in asked else Reply(body=json.dumps(slow), mood="late", seconds=2.1)

    model_server.script = script
    result = run(bench, model_server, "--hermes-task-timeout=2", "--hermes-request-timeout=3", tasks=4)
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(["endpoint error: *did not answer within 3 s (3 tries)"])
    by = by_task(bench)
    assert [by[f"t{i}"]["stop_reason"] for i in range(4)] == [None, None, "finished", "time"]
    assert [by[f"t{i}"]["turns_used"] for i in range(4)] == [0, 1, 2, 2]
    assert by["t1"]["error"]["kind"] == "endpoint"
    assert by["t3"]["messages"][-1]["content"] == "the call did not finish: the time for this task is over"
    assert by["t3"]["seconds"]["model"] > 2
    assert by["t3"]["seconds"]["backoff"] == 0


def test_nobody_listens(bench: Bench, model_server: ModelServer) -> None:
    url = model_server.url
    model_server.close()
    try:
        result = run(bench, model_server)
    finally:
        model_server.__init__()  # type: ignore[misc]  # the fixture closes it once more
    result.assert_outcomes(errors=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"endpoint error: cannot reach {url}: Connection refused (3 tries)"])
    assert {record["error"]["kind"] for record in bench.records()} == {"endpoint"}


def test_a_full_context_window_is_the_agent_s_own_end(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(WORK, Reply(400, '{"error": {"message": "x", "code": "context_length_exceeded"}}'))
    result = run(bench, model_server, tasks=1)
    result.assert_outcomes(passed=1)  # the reward decides
    (record,) = bench.records()
    assert (record["stop_reason"], record["error"]) == ("context", None)


def test_a_refusal_ends_the_run_with_one_line(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(Reply(401, json.dumps({"error": {"message": f"no {KEY}"}})))
    result = run(bench, model_server, "-n", "4", tasks=100)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.assert_outcomes()
    lines = [line for line in result.outlines if line.strip()]
    advice = f"hermes: stopped: {model_server.url} refused the key: check PYTEST_HERMES_API_KEY (401: no "
    assert lines[-1].startswith(advice)
    assert sum("(401: no" in line for line in lines) == 1
    result.stdout.fnmatch_lines(["stopped   100 of 100 attempts did not finish and are not counted"])
    assert bench.records() == []
    assert len(model_server.requests) <= 4
    assert KEY not in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize("distributed", [(), ("-n1",)], ids=["one process", "xdist"])
def test_a_refusal_ends_a_session_with_agents(
    bench: Bench, model_server: ModelServer, distributed: tuple[str, ...]
) -> None:
    model_server.play(Reply(401, json.dumps({"error": {"message": f"no {KEY}"}})))
    bench.env(PYTEST_HERMES_API_KEY=KEY)
    bench.file(
        "test_own.py",
        "import asyncio, pytest\n@pytest.mark.parametrize('n', range(9))\n"
        "def test_agent(hermes_agent, n):\n    asyncio.run(hermes_agent.run('Work.'))\n",
    )
    arguments = ("test_own.py", f"--hermes-base-url={model_server.url}", "--hermes-model=tiny", "--hermes-run-dir=out")
    result = bench.run_inside(*arguments, *distributed)
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.outlines if line.strip()][-1].startswith(
        f"hermes: stopped: {model_server.url} refused the key: check PYTEST_HERMES_API_KEY (401: no "
    )
    assert len(model_server.requests) == 1
    assert [record["error"]["kind"] for record in bench.records()] == ["endpoint"]
    assert KEY not in result.stdout.str() + result.stderr.str()


def test_what_was_done_before_a_refusal_counts(bench: Bench, model_server: ModelServer) -> None:
    """Credit that runs out in the middle of a run, and of an attempt."""

    def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
        if "number 0" in str(body["messages"]):
            return WORK if turn(body) == 0 else DONE
        if turn(body) == 0:
            return {**WORK, "usage": {**WORK["usage"], "cost": 0.25}}
        return Reply(402, '{"error": {"message": "out of credits"}}')

    model_server.script = script
    result = run(bench, model_server, "-n", "1", tasks=5)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(
        [
            "score     1.000*",
            "stopped   4 of 5 attempts*",
            "tokens    200 in*",
            "also used 110 tokens *, in attempts that were cancelled",
            "hermes: stopped: *no credit left*",
        ]
    )
    assert list(by_task(bench)) == ["t0"]


def test_a_key_that_an_endpoint_repeats_is_not_shown(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(Reply(400, json.dumps({"error": {"message": f"bad request of {KEY}"}})))
    result = run(bench, model_server, "-v", "--junitxml=junit.xml")
    result.stdout.fnmatch_lines(["endpoint error: *bad request of [[]redacted[]]*"])
    everything = result.stdout.str() + (bench.path / "junit.xml").read_text() + str(bench.records())
    assert KEY not in everything


def test_a_verifier_that_repeats_a_secret_does_not_show_it(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(DONE)
    bench.env(SOME_TOKEN="planted-in-the-environment")
    source = MINE.replace("return 1.0 if", "raise OSError('denied: planted-in-the-environment')\n        return 1.0 if")
    bench.file("raising.py", source.replace("N)", "1)"))
    result = bench.run_inside("--hermes-bench=raising.py:Mine", "--hermes-model=nop")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["verifier error: compute_reward raised OSError: denied: [[]redacted[]]"])
    assert "planted-in" not in result.stdout.str()


def test_infra_retries_start_an_attempt_afresh(bench: Bench, model_server: ModelServer) -> None:
    """The second start has a sandbox of its own: what the first one did to its is not there."""
    work = completion(None, ("terminal", {"command": "test ! -e trace && echo 1 > x; touch trace"}))
    left = [Reply(400, '{"error": {"message": "no such luck"}}')]

    def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
        if turn(body) == 0:
            return work
        return left.pop() if left else DONE

    model_server.script = script
    result = run(bench, model_server, "--hermes-infra-retries=1", tasks=1)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["errors    0", "tokens    300 in, 30 out*", "restarts  1 after errors (endpoint 1)"])
    (record,) = bench.records()
    assert (record["status"], record["turns_used"], record["usage"]["prompt_tokens"]) == ("passed", 2, 200)
    (earlier,) = record["earlier_errors"]
    assert (earlier["kind"], earlier["usage"]["prompt_tokens"]) == ("endpoint", 100)
    assert earlier["message"].endswith("answered 400: no such luck")
    assert earlier["seconds"] > 0


def test_infra_retries_are_counted_and_their_causes_kept(bench: Bench, model_server: ModelServer) -> None:
    messages = [f"cause {number}" for number in range(10)]

    def script(body: dict[str, Any]) -> Reply:
        return Reply(400, json.dumps({"error": {"message": messages.pop(0)}}))

    model_server.script = script
    result = run(bench, model_server, "--hermes-infra-retries=2", tasks=1)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["endpoint error: *cause 2", "an earlier start ended with this endpoint error: *cause 0", "*cause 1"]
    )
    (record,) = bench.records()
    assert [earlier["message"][-7:] for earlier in record["earlier_errors"]] == ["cause 0", "cause 1"]
    assert len(model_server.requests) == 3


def test_without_infra_retries_an_attempt_starts_once(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(Reply(400))
    run(bench, model_server, tasks=1).assert_outcomes(errors=1)
    assert len(model_server.requests) == 1
    assert bench.records()[0]["earlier_errors"] == []


def test_a_bug_of_the_benchmark_is_not_started_afresh(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(WORK, DONE)
    bench.env(PYTEST_HERMES_INFRA_RETRIES="5")
    bench.file("raising.py", MINE.replace("N)", "1)").replace("return 1.0 if", "return None if"))
    result = bench.run_inside(
        "--hermes-bench=raising.py:Mine", f"--hermes-base-url={model_server.url}", "--hermes-model=tiny"
    )
    result.assert_outcomes(errors=1)
    assert len(model_server.requests) == 2


def test_the_header_says_that_calls_adapt(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(WORK, DONE)
    result = run(bench, model_server, "-n", "7")
    result.stdout.fnmatch_lines(["hermes: at most 7 model calls in flight, fewer after a 429 or 503"])
    bench.run_inside("--hermes-bench=terminal_test", "--co").stdout.no_fnmatch_line("*429*")


def test_an_overloaded_endpoint_is_asked_for_less_at_once(bench: Bench, model_server: ModelServer) -> None:
    """All of the first round is refused; the rest of the run goes on with what the endpoint takes."""
    refused: list[int] = []

    def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
        if len(refused) < 8:
            refused.append(1)
            return Reply(429, mood="late", seconds=0.3)
        return WORK if turn(body) == 0 else DONE

    model_server.script = script
    result = run(bench, model_server, "-n", "8", "--hermes-request-timeout=30", tasks=16)
    result.assert_outcomes(passed=16)
    assert model_server.peak <= 8


def test_a_refusal_ends_all_processes(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(Reply(401, '{"error": {"message": "no"}}'))
    result = run(bench, model_server, "--hermes-procs=2", "-n", "4", tasks=40)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.outlines if line.strip()][-1].startswith("hermes: stopped: ")
    assert bench.records() == []
    assert len(model_server.requests) <= 4
    result.stdout.no_fnmatch_line("*CancelledError*")

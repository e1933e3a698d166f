"""A judge model of its own: what its user sees when it judges, fails, is refused, or has spent its budget."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_hermes.models import retry
from pytest_hermes.rollout.record import AttemptRecord
from tests.services.bench import Bench
from tests.services.model_server import ModelServer, Reply, completion

KEY = "sesame-of-the-agent"
JUDGE_KEY = "sesame-of-the-judge"

JUDGED = """
from pytest_hermes import Benchmark, Task
from pytest_hermes.rewards import final_response, keyword_overlap, llm_judge

class Judged(Benchmark):
    name = "judged"
    uses_judge = True
    default_toolsets = ()

    def tasks(self):
        return [Task(id=f"t{n}", prompt=f"Task {n}.", threshold=0.5) for n in range(N)]

    async def compute_reward(self, item, result, ctx):
        judged = await llm_judge(
            ctx.judge, question=item.prompt, answer=final_response(result), reference=REFERENCE, heuristic=HEURISTIC
        )
        return judged.score
"""


def priced(reply: dict[str, Any], cost: float | None) -> dict[str, Any]:
    if cost is not None:
        reply["usage"]["cost"] = cost
    return reply


def score(value: object = 1, cost: float | None = None) -> dict[str, Any]:
    return priced(completion(json.dumps({"score": value})), cost)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the number of tries and take out the waits."""
    monkeypatch.setattr(retry, "DEFAULT", retry.RetryPolicy(tries=3, base=0.01))


@pytest.fixture
def judge_server() -> Iterator[ModelServer]:
    server = ModelServer()
    server.play(score())
    yield server
    server.close()


def write(bench: Bench, tasks: int = 1, heuristic: str = "None") -> None:
    text = JUDGED.replace("range(N)", f"range({tasks})").replace("=HEURISTIC", f"={heuristic}")
    bench.file("judged.py", text.replace("=REFERENCE", "='Done.'"))


def arguments(server: ModelServer, judge: ModelServer | None) -> tuple[str, ...]:
    asked = ("--hermes-bench=judged.py:Judged", f"--hermes-base-url={server.url}", "--hermes-model=tiny")
    judging = () if judge is None else ("--hermes-judge-model=wise", f"--hermes-judge-base-url={judge.url}")
    return (*asked, *judging, "--hermes-run-dir=out")


def run(
    bench: Bench, server: ModelServer, judge: ModelServer, *more: str, tasks: int = 1, heuristic: str = "None"
) -> pytest.RunResult:
    bench.env(PYTEST_HERMES_API_KEY=KEY, PYTEST_HERMES_JUDGE_API_KEY=JUDGE_KEY)
    write(bench, tasks, heuristic)
    return bench.run_inside(*arguments(server, judge), *more)


def test_a_judge_scores_and_is_counted_apart(
    bench: Bench, model_server: ModelServer, judge_server: ModelServer
) -> None:
    model_server.play(priced(completion("Done."), 0.5))
    judge_server.play(score(0.75, cost=0.1))
    result = run(bench, model_server, judge_server, tasks=3)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            f"hermes: judge wise at {judge_server.url}",
            "score     0.750 *",
            "tokens    300 in, 30 out, in 3 turns",
            "cost      $1.50 (reported by the provider)",
            "judge     3 scored by the judge, 0 by the heuristic",
            "judging   tokens 300 in, 30 out; cost $0.30 (reported by the provider)",
        ]
    )
    result.stdout.no_fnmatch_line("besides*")
    for record in bench.records():
        assert (record["reward"], record["reward_source"]) == (0.75, "judge")
        assert (record["usage"]["cost"], record["judge_usage"]["cost"]) == ("0.5", "0.1")
        assert (record["turns_used"], record["usage"]["prompt_tokens"], record["retries"]) == (1, 100, 0)
    assert {request.body["model"] for request in judge_server.requests} == {"wise"}


def test_the_documents_benchmark(bench: Bench, model_server: ModelServer, judge_server: ModelServer) -> None:
    text = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    (block,) = re.findall(r"```python\n# answers.py\n(.*?)```", text, re.DOTALL)
    bench.file("answers.py", block)
    judge_server.play(score(0.8))
    asked = (argument for argument in arguments(model_server, judge_server) if "bench" not in argument)
    bench.run_inside("--hermes-bench=answers.py:Answers", *asked).assert_outcomes(passed=1)
    (request,) = judge_server.requests
    assert "0.5 only one of the two" in request.body["messages"][0]["content"]
    assert "Answer:\nDone." in request.body["messages"][1]["content"]


def test_each_key_goes_to_its_own_host(bench: Bench, model_server: ModelServer, judge_server: ModelServer) -> None:
    judge_server.play(Reply(400, json.dumps({"error": {"message": f"bad request of {JUDGE_KEY}"}})))
    result = run(bench, model_server, judge_server, "-v", "--junitxml=junit.xml")
    assert {request.headers["authorization"] for request in model_server.requests} == {f"Bearer {KEY}"}
    assert {request.headers["authorization"] for request in judge_server.requests} == {f"Bearer {JUDGE_KEY}"}
    result.stdout.fnmatch_lines(["verifier error: judge 'wise' did not answer: *bad request of [[]redacted[]]"])
    written = "".join(path.read_text() for path in (bench.path / "out").iterdir()) + result.stdout.str()
    assert JUDGE_KEY not in written + (bench.path / "junit.xml").read_text()
    # The agent's key is not the judge's, and OpenRouter's and OpenAI's belong to their hosts.
    bench.env(
        PYTEST_HERMES_JUDGE_API_KEY="", OPENROUTER_API_KEY="sesame-of-openrouter", OPENAI_API_KEY="sesame-of-openai"
    )
    judge_server.requests.clear()
    bench.run_inside(*arguments(model_server, judge_server))
    assert {request.headers["authorization"] for request in judge_server.requests} == {"Bearer none"}


@pytest.mark.parametrize(
    ("reply", "why", "requests"),
    [
        (Reply(500, "it fell over"), "judge 'wise' did not answer: *answered 500: it fell over (3 tries)", 3),
        (Reply(mood="hang"), "judge 'wise' did not answer: *did not answer within 0.5 s (3 tries)", 3),
        (Reply(body="<html>"), "judge 'wise' did not answer: *is not a chat completion: '<html>'", 1),
        (
            completion("Well done!"),
            "the judge's second answer cannot be used either: not a JSON object: 'Well done!'",
            2,
        ),
        (score(float("nan")), "the judge's second answer cannot be used either: a score of nan, which*", 2),
        (score(7), "the judge's second answer cannot be used either: a score of 7, which is not from 0 to 1", 2),
    ],
    ids=["500", "hang", "no completion", "text", "NaN", "out of range"],
)
def test_a_judge_without_a_score_is_an_error(
    bench: Bench, model_server: ModelServer, judge_server: ModelServer, reply: Any, why: str, requests: int
) -> None:
    judge_server.play(reply)
    result = run(bench, model_server, judge_server, "--hermes-request-timeout=0.5")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"verifier error: {why}", "errors    1 (verifier 1), not in the score*"])
    result.stdout.no_fnmatch_line("judge   *")
    (record,) = bench.records()
    assert (record["status"], record["error"]["kind"], record["reward"]) == ("error", "verifier", None)
    assert record["reward_source"] is None
    assert len(record["error"]["message"].splitlines()) == 1
    assert len(judge_server.requests) == requests
    # What went wrong with the judge is no retry and no waiting of the agent's.
    assert (record["retries"], record["seconds"]["backoff"]) == (0, 0)


def test_a_fault_that_passes_is_waited_out(bench: Bench, model_server: ModelServer, judge_server: ModelServer) -> None:
    left = [Reply(500), Reply(mood="reset")]
    judge_server.script = lambda body: left.pop() if left else score(1)
    run(bench, model_server, judge_server).assert_outcomes(passed=1)
    (record,) = bench.records()
    assert (record["retries"], record["seconds"]["backoff"], len(judge_server.requests)) == (0, 0, 3)


def test_infra_retries_ask_again_what_was_not_judged(
    bench: Bench, model_server: ModelServer, judge_server: ModelServer
) -> None:
    left = [completion("Well done!"), completion("Very well!")]
    judge_server.script = lambda body: left.pop(0) if left else score(1)
    result = run(bench, model_server, judge_server, "--hermes-infra-retries=1")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "tokens    200 in, 20 out, in 1 turn",
            "judge     1 scored by the judge, 0 by the heuristic",
            "judging   tokens 300 in, 30 out; cost unknown: *",
            "restarts  1 after errors (verifier 1)",
        ]
    )
    (record,) = bench.records()
    assert record["judge_usage"]["prompt_tokens"] == 100
    (earlier,) = record["earlier_errors"]
    assert (earlier["kind"], earlier["judge_usage"]["prompt_tokens"]) == ("verifier", 200)


def test_a_heuristic_is_opt_in_and_counted(bench: Bench, model_server: ModelServer, judge_server: ModelServer) -> None:
    judge_server.script = lambda body: score(1) if "Task 0." in str(body) else Reply(400, "no")
    result = run(bench, model_server, judge_server, tasks=3, heuristic="keyword_overlap")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["judge     1 scored by the judge, 2 by the heuristic"])
    assert {record["task"]: record["reward_source"] for record in bench.records()} == {
        "t0": "judge",
        "t1": "heuristic",
        "t2": "heuristic",
    }


@pytest.mark.parametrize("heuristic", ["None", "keyword_overlap"])
def test_a_refused_judge_ends_the_run(
    bench: Bench, model_server: ModelServer, judge_server: ModelServer, heuristic: str
) -> None:
    judge_server.play(Reply(401, json.dumps({"error": {"message": f"no {JUDGE_KEY}"}})))
    result = run(bench, model_server, judge_server, "-n", "2", tasks=20, heuristic=heuristic)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.outlines if line.strip()][-1] == (
        f"hermes: stopped: judge 'wise': {judge_server.url} refused the key: check PYTEST_HERMES_JUDGE_API_KEY "
        "(401: no [redacted])"
    )
    judge_server.play(Reply(404, '{"error": {"message": "no such model"}}'))
    result = run(bench, model_server, judge_server, heuristic=heuristic)
    advice = "check --hermes-judge-model, and that --hermes-judge-base-url is *"
    result.stdout.fnmatch_lines([f"hermes: stopped: judge 'wise': * has no model 'wise': {advice}"])


@pytest.mark.parametrize("processes", [(), ("--hermes-procs=2",)], ids=["one process", "two"])
def test_the_judge_s_budget_is_its_own(
    bench: Bench, model_server: ModelServer, judge_server: ModelServer, processes: tuple[str, ...]
) -> None:
    """The agents' answers cost a hundred times as much, and do not touch it."""
    model_server.play(priced(completion("Done."), 10))
    judge_server.play(score(1, cost=0.1))
    options = ("--hermes-judge-max-cost=0.5", "--hermes-max-cost=1000", "-n2", *processes)
    result = run(bench, model_server, judge_server, *options, tasks=40)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    reply = r"the judge's budget of \$0\.50 is spent \(\$0\.[567]0? used; --hermes-judge-max-cost\)"
    result.stdout.re_match_lines(
        [r"hermes: at most \$0\.50 for the judge", "stopped .* of 40 attempts", f"hermes: stopped: {reply}"]
    )
    counts = Counter(record["status"] for record in bench.records())
    assert 5 <= counts["passed"] <= 7
    assert {record["error"]["kind"] for record in bench.records() if record["error"]} <= {"budget"}
    assert len(judge_server.requests) <= 7


def test_a_price_that_is_not_known_cannot_be_held(
    bench: Bench, model_server: ModelServer, judge_server: ModelServer
) -> None:
    result = run(bench, model_server, judge_server, "--hermes-judge-max-cost=1", "-n1", tasks=3)
    result.stdout.fnmatch_lines(
        ["hermes: stopped: --hermes-judge-max-cost=1 cannot be enforced: the price of an answer is unknown; *"]
    )


def test_the_agents_budget_does_not_count_the_judge(
    bench: Bench, model_server: ModelServer, judge_server: ModelServer
) -> None:
    model_server.play(priced(completion("Done."), 0.1))
    judge_server.play(score(1, cost=100))
    result = run(bench, model_server, judge_server, "--hermes-max-cost=1", "--hermes-max-turns=4", tasks=3)
    result.assert_outcomes(passed=3)
    assert result.ret == 0


def test_processes_count_together(bench: Bench, model_server: ModelServer, judge_server: ModelServer) -> None:
    judge_server.play(score(1, cost=0.1))
    result = run(bench, model_server, judge_server, "--hermes-procs=2", "-n4", tasks=8, heuristic="keyword_overlap")
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(
        [
            f"hermes: judge wise at {judge_server.url}",
            "judge     8 scored by the judge, 0 by the heuristic",
            "judging   tokens 800 in, 80 out; cost $0.80 (reported by the provider)",
        ]
    )


def test_a_benchmark_that_uses_a_judge_is_refused_without_one(bench: Bench, model_server: ModelServer) -> None:
    write(bench)
    needs = "benchmark 'judged' is scored by a judge model: add --hermes-judge-model=NAME"
    keys = "set OPENROUTER_API_KEY, or OPENAI_API_KEY (and OPENAI_BASE_URL), or pass --hermes-judge-base-url=http*"
    for more, reply in (
        ((), needs),
        (("--hermes-validate",), needs),
        (("--hermes-judge-model=wise",), f"judge: no endpoint for model 'wise': {keys}"),
        (("--hermes-judge-model=oracle",), "judge: 'oracle' cannot judge: name the model of an endpoint with *"),
        (
            ("--hermes-judge-base-url=http://x/v1",),
            "judge: base URL http://x/v1 needs a model: add --hermes-judge-model=NAME",
        ),
        (("--hermes-judge-model=wise", "--hermes-judge-base-url=x"), "judge: base URL 'x' is not an http(s) address *"),
        (
            ("--hermes-judge-base-url=http://a:b@x/v1",),
            "*must not hold a *; pass the key as PYTEST_HERMES_JUDGE_API_KEY",
        ),
        (("--hermes-judge-max-cost=much",), "--hermes-judge-max-cost='much': must be an amount of dollars*"),
    ):
        result = bench.run_inside(*arguments(model_server, None), *more)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {reply}"])
    assert model_server.requests == []
    assert not (bench.path / "out").exists()


def test_a_judge_that_was_not_asked_for_is_said_in_one_line(bench: Bench, model_server: ModelServer) -> None:
    write(bench)
    path = bench.path / "judged.py"
    path.write_text(path.read_text().replace("uses_judge = True", "uses_judge = False"))
    result = bench.run_inside(*arguments(model_server, None))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["usage error: ctx.judge needs a judge model: add --hermes-judge-model=NAME"])


def test_another_judge_makes_another_run(bench: Bench, model_server: ModelServer, judge_server: ModelServer) -> None:
    run(bench, model_server, judge_server, "--hermes-task=t0", tasks=2).assert_outcomes(passed=1)
    resumed = (*arguments(model_server, judge_server)[:-1], "--hermes-resume=out")
    result = bench.run_inside(*resumed, "--hermes-judge-model=wiser")
    result.stderr.fnmatch_lines(
        ['ERROR: cannot resume out, it is a different run: judged judge was "wise" and is "wiser"*']
    )
    result = bench.run_inside(*resumed)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["judge     2 scored by the judge, 0 by the heuristic"])
    # A line from before there were judges is none that nobody knows the price of.
    old = {key: value for key, value in bench.records()[0].items() if "judge" not in key and key != "reward_source"}
    assert "judge" not in str(old["earlier_errors"])
    record = AttemptRecord.model_validate(old)
    assert (record.reward_source, record.judge_usage.total_tokens) == (None, 0)
    assert record.judge_usage.cost == 0


def test_a_fixture_of_an_item_may_ask_the_judge(
    bench: Bench, model_server: ModelServer, judge_server: ModelServer
) -> None:
    """In the thread and the loop of the test, not of the rollouts."""
    bench.file(
        "conftest.py",
        "import asyncio, pytest\nfrom pytest_hermes.rewards import llm_judge\n\n"
        "@pytest.fixture(autouse=True)\ndef look(rollout, tool_context):\n"
        "    judged = asyncio.run(llm_judge(tool_context.judge, question='Q', answer='A'))\n"
        "    assert judged.score == 1\n",
    )
    run(bench, model_server, judge_server, tasks=2).assert_outcomes(passed=2)
    assert len(judge_server.requests) == 4
    resumed = (*arguments(model_server, judge_server)[:-1], "--hermes-resume=out")
    bench.run_inside(*resumed).assert_outcomes(passed=2)
    assert len(judge_server.requests) == 6


OWN = """
import pytest
from pytest_hermes.rewards import llm_judge

@pytest.mark.parametrize("n", range(4))
async def test_agent(hermes_agent, hermes_score, tool_context, n):
    result = await hermes_agent.run(f"Task {n}.")
    judged = await llm_judge(tool_context.judge, question="Q", answer="A")
    hermes_score(judged.score)
"""


@pytest.fixture
def own(bench: Bench, model_server: ModelServer, judge_server: ModelServer) -> tuple[str, ...]:
    bench.file(
        "pytest.ini",
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n",
    )
    bench.file("test_own.py", OWN)
    bench.env(PYTEST_HERMES_JUDGE_API_KEY=JUDGE_KEY)
    return tuple(argument for argument in arguments(model_server, judge_server) if "bench" not in argument)


def test_tests_with_an_agent_have_a_judge(bench: Bench, judge_server: ModelServer, own: tuple[str, ...]) -> None:
    judge_server.play(score(0.25))
    for mode in ((), ("-n2",)):
        bench.run_inside("test_own.py", *own, *mode).assert_outcomes(passed=4)
        record = bench.records()[-1]
        assert (record["reward"], record["reward_source"], record["usage"]["prompt_tokens"]) == (0.25, "judge", 100)
        assert record["judge_usage"]["prompt_tokens"] == 100
    judge_server.play(completion("Fine."))
    result = bench.run_inside("test_own.py", *own, "-k", "0")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E * the judge's second answer cannot be used either: not a JSON object: 'Fine.'"])
    result = bench.run_inside("test_own.py", *own[:2], "-k", "0")
    result.stdout.fnmatch_lines(["E * ctx.judge needs a judge model: add --hermes-judge-model=NAME"])


@pytest.mark.parametrize("mode", [(), ("-n2",)], ids=["one process", "xdist"])
def test_tests_with_an_agent_keep_the_judge_s_budget(
    bench: Bench, judge_server: ModelServer, own: tuple[str, ...], mode: tuple[str, ...]
) -> None:
    judge_server.play(score(1, cost=0.1))
    result = bench.run_inside("test_own.py", *own, "--hermes-judge-max-cost=0.2", *mode)
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] in (2, 3)
    result.stdout.fnmatch_lines(["E *the judge's budget of $0.20 is spent ($0.?* used; --hermes-judge-max-cost)"])


@pytest.mark.parametrize("mode", [(), ("-n1",)], ids=["one process", "xdist"])
def test_a_refused_judge_ends_a_session_with_agents(
    bench: Bench, judge_server: ModelServer, own: tuple[str, ...], mode: tuple[str, ...]
) -> None:
    judge_server.play(Reply(401, json.dumps({"error": {"message": f"no {JUDGE_KEY}"}})))
    result = bench.run_inside("test_own.py", *own, *mode)
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.outlines if line.strip()][-1].startswith(
        f"hermes: stopped: judge 'wise': {judge_server.url} refused the key: check PYTEST_HERMES_JUDGE_API_KEY (401"
    )
    assert JUDGE_KEY not in result.stdout.str()

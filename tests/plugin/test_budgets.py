"""Limits of tasks and of runs, and what a run says that it cost."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest

from tests.services.bench import Bench, processes_with
from tests.services.model_server import ModelServer, Reply, completion

MINE = """
from pytest_hermes import Benchmark, Limits, Task

class Mine(Benchmark):
    name = "mine"

    def tasks(self):
        return [
            Task(id=f"t{i}", prompt=f"Task number {i}.", limits=Limits(LIMITS), solution="echo 1 > x")
            for i in range(N)
        ]

    async def compute_reward(self, item, result, ctx) -> float:
        return 1.0 if ctx.read_file("x").get("content") == "1\\n" else 0.0
"""


#: What the header makes of them.
LIMITS = {"--hermes-max-cost": "$1.00", "--hermes-max-tokens": "1,100 tokens", "--hermes-max-turns": "10 turns"}


def answer(*calls: str, cost: object = None, **options: Any) -> dict[str, Any]:
    """Return an answer that runs these commands, or is done without any; `cost` is the provider's own figure."""
    reply = completion(
        None if calls else "Done.", *(("terminal", {"command": command}) for command in calls), **options
    )
    if cost is not None:
        reply["usage"]["cost"] = cost
    return reply


def run(
    bench: Bench, server: ModelServer, *arguments: str, tasks: int = 1, limits: str = "", model: str = "tiny"
) -> pytest.RunResult:
    bench.file("mine.py", MINE.replace("range(N)", f"range({tasks})").replace("LIMITS", limits))
    return bench.run_inside(
        "--hermes-bench=mine.py:Mine",
        f"--hermes-base-url={server.url}",
        f"--hermes-model={model}",
        "--hermes-run-dir=out",
        *arguments,
    )


def test_the_provider_s_figures_are_summed_exactly(bench: Bench, model_server: ModelServer) -> None:
    """Ten cents are no float."""
    model_server.play(answer("echo 1 > x", cost=0.1), answer("true", cost=0.1), answer(cost=0.1))
    result = run(bench, model_server, "--junitxml=junit.xml", tasks=3)
    result.assert_outcomes(passed=3)
    assert (bench.path / "junit.xml").read_text().count('<property name="cost" value="0.3"') == 3
    result.stdout.fnmatch_lines(["cost      $0.90 (reported by the provider)"])
    for record in bench.records():
        assert record["usage"]["cost"] == "0.3"
        assert record["usage"]["cost_source"] == "provider"


def test_costs_that_are_not_known_are_not_nothing(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(answer())
    result = run(bench, model_server)
    result.stdout.fnmatch_lines(["cost      unknown: the endpoint reports no cost, and there is no list price"])
    assert bench.records()[0]["usage"]["cost"] is None


def test_a_sum_with_unknown_parts_says_so(bench: Bench, model_server: ModelServer) -> None:
    model_server.script = lambda body: answer(cost=None if "number 0" in str(body["messages"]) else 0.615)
    result = run(bench, model_server, tasks=3)
    result.stdout.fnmatch_lines(["cost      at least $1.23; unknown for 1 attempt"])


def test_a_usage_block_that_makes_no_sense_costs_nothing_but_the_figures(
    bench: Bench, model_server: ModelServer
) -> None:
    reply = answer()
    reply["usage"] = {"prompt_tokens": -5, "completion_tokens": "many", "total_tokens": [], "cost": "1e999999"}
    model_server.script = lambda body: reply
    result = run(bench, model_server, "--hermes-max-tokens=1000000")
    result.stdout.fnmatch_lines(["tokens    0 in, 0 out*", "cost      unknown*", "results *"])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert {record["usage"]["prompt_tokens"] for record in bench.records()} == {0}


@pytest.mark.parametrize("cost", [-1, "free", True, "NaN", "1e999999"])
def test_a_figure_that_is_none_is_not_known(bench: Bench, model_server: ModelServer, cost: object) -> None:
    model_server.play(answer(cost=cost))
    run(bench, model_server).stdout.fnmatch_lines(["cost      unknown*"])


def test_a_model_that_costs_nothing_according_to_its_provider(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(answer(cost=0))
    run(bench, model_server).stdout.fnmatch_lines(["cost      $0.00 (reported by the provider)"])


def test_builtin_models_have_no_cost_line(bench: Bench) -> None:
    for model in ("oracle", "nop"):
        result = bench.run_inside(
            "--hermes-bench=terminal_test", "--hermes-task=create-file", f"--hermes-model={model}"
        )
        result.stdout.no_fnmatch_line("cost *")
        result.stdout.fnmatch_lines(["tokens    0 in*"])


@pytest.mark.parametrize(
    ("limits", "reason", "turns"),
    [
        ("tokens=250", "tokens", 3),
        ("cost=0.3", "cost", 3),
        ("turns=2", "max_turns", 2),
        ("tokens=10_000, cost=100", "finished", 5),
    ],
)
def test_a_task_s_own_limits_end_its_agent_and_not_its_score(
    bench: Bench, model_server: ModelServer, limits: str, reason: str, turns: int
) -> None:
    model_server.play(answer("echo 1 > x", cost=0.1), *[answer("true", cost=0.1)] * 3, answer(cost=0.1))
    result = run(bench, model_server, limits=limits)
    result.assert_outcomes(passed=1)
    (record,) = bench.records()
    assert (record["stop_reason"], record["turns_used"]) == (reason, turns)
    if reason in ("tokens", "cost"):
        assert "not run" in record["messages"][-1]["content"]


def test_out_of_money_is_told(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(answer("true", cost=0.5))
    result = run(bench, model_server, limits="cost=1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["reward 0 is below the threshold 1; 2 turns, 220 tokens, out of money"])


def test_a_task_s_limit_on_unknown_costs_is_an_error(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(answer("true"))
    result = run(bench, model_server, limits="cost=1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["budget error: the task's limit of $1.00 cannot be enforced: the price of an answer is unknown"]
    )
    assert len(model_server.requests) == 1


@pytest.mark.parametrize(
    ("option", "reply"),
    [
        ("--hermes-max-cost=1", "the run's budget of $1.00 is spent ($1.00 used; --hermes-max-cost)"),
        ("--hermes-max-tokens=1100", "the run's budget of 1,100 tokens is spent (1,100 used; --hermes-max-tokens)"),
        ("--hermes-max-turns=10", "the run's budget of 10 turns is spent (10 used; --hermes-max-turns)"),
    ],
)
def test_a_run_s_budget(bench: Bench, model_server: ModelServer, option: str, reply: str) -> None:
    """One task ends well; the next two are at work when the ten answers are spent."""

    def script(body: dict[str, Any]) -> dict[str, Any]:
        turn = sum(message["role"] == "assistant" for message in body["messages"])
        if "number 0" not in str(body["messages"]):
            return answer("true", cost=0.1)
        return answer("echo 1 > x", cost=0.1) if turn == 0 else answer(cost=0.1)

    model_server.script = script
    result = run(bench, model_server, option, "-n", "2", tasks=20)
    result.assert_outcomes(passed=1, errors=2)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert [line for line in result.outlines if line.strip()][-1] == f"hermes: stopped: {reply}"
    result.stdout.fnmatch_lines(
        [
            f"hermes: at most {LIMITS[option.partition('=')[0]]} for the run",
            f"budget error: {reply}",
            "after * turn*",
            "score     1.000*n = 1)",
            "errors    2 (budget 2), not in the score; score with errors as 0: 0.333",
            "stopped   17 of 20 attempts did not finish and are not counted",
            "continue  with the same command, --hermes-resume=*, --hermes-retry-errors",
        ]
    )
    records = bench.records()
    assert sorted(record["status"] for record in records) == ["error", "error", "passed"]
    assert sum(record["turns_used"] for record in records) == len(model_server.requests)
    spent = sum(Decimal(record["usage"]["cost"]) for record in records)
    # One answer more was on its way to the other task in flight, and is counted.
    assert spent in (Decimal("1.0"), Decimal("1.1"))
    result.stdout.fnmatch_lines([f"cost      ${spent}0 (reported by the provider)"])
    for record in records:
        if record["status"] == "error":
            assert record["error"]["kind"] == "budget"
            # The budget may be spent before the slower of the two has its first answer.
            assert record["messages"][-1]["role"] == ("tool" if record["turns_used"] else "user")


def test_a_budget_does_not_wait_for_a_tool(bench: Bench, model_server: ModelServer) -> None:
    def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
        if "number 0" in str(body["messages"]):
            return answer("sleep 300", completion_tokens=0, prompt_tokens=1)
        return Reply(body=__import__("json").dumps(answer("true", prompt_tokens=1000)), mood="late", seconds=1.5)

    model_server.script = script
    result = run(bench, model_server, "--hermes-max-tokens=500", "-n", "2", tasks=2)
    result.assert_outcomes(errors=2)
    records = {record["task"]: record for record in bench.records()}
    assert records["t0"]["messages"][-1]["content"] == "the call did not finish: the budget of the run is spent"
    assert records["t0"]["seconds"]["total"] < 100


WHEREVER = """
from pytest_hermes import Benchmark, Task

class Wherever(Benchmark):
    name = "wherever"

    def tasks(self):
        return [Task(id=at, prompt=f"Be slow at the {at}.") for at in ("setup", "model", "tool", "verifier", "queue")]

    async def prepare(self, item, ctx):
        if item.id == "setup":
            ctx.terminal("sleep 300.MARKER")

    async def compute_reward(self, item, result, ctx):
        return ctx.terminal("sleep 300.MARKER", timeout=400)["exit_code"]
"""


def test_the_end_of_a_run_s_time_ends_whatever_is_in_flight(bench: Bench, model_server: ModelServer) -> None:
    """One attempt is at each session where time goes by, and one more waits for its turn."""
    marker = str(uuid.uuid4().int)[:12]

    def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
        if "verifier" in str(body["messages"]):
            return answer()
        asked_before = any(message["role"] == "assistant" for message in body["messages"])
        if "tool" in str(body["messages"][0]) and asked_before:
            return answer(f"sleep 300.{marker}")
        return Reply(mood="hang") if asked_before else answer("true")

    model_server.script = script
    bench.file("wherever.py", WHEREVER.replace("MARKER", marker))
    result = bench.run_inside(
        "--hermes-bench=wherever.py:Wherever",
        f"--hermes-base-url={model_server.url}",
        "--hermes-model=tiny",
        "--hermes-run-dir=out",
        "--hermes-max-seconds=5",
        "--hermes-max-tokens=100000",
        "--hermes-max-turns=100",
        "-n4",
    )
    result.assert_outcomes(errors=4)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    reply = "the run's 5 s are over (--hermes-max-seconds)"
    assert [line for line in result.outlines if line.strip()][-1] == f"hermes: stopped: {reply}"
    result.stdout.fnmatch_lines(
        [
            "hermes: at most 100,000 tokens, 100 turns and 5.0 s for the run",
            f"budget error: {reply}",
            "errors    4 (budget 4), not in the score*",
            "stopped   1 of 5 attempts did not finish and are not counted",
        ]
    )
    records = {record["task"]: record for record in bench.records()}
    assert {record["error"]["kind"] for record in records.values()} == {"budget"}
    assert {task: record["turns_used"] for task, record in records.items()} == {
        "setup": 0,
        "model": 1,
        "tool": 2,
        "verifier": 1,
    }
    assert records["tool"]["messages"][-1]["content"] == "the call did not finish: the budget of the run is spent"
    assert records["verifier"]["stop_reason"] == "finished"
    assert processes_with(marker) == []


def test_a_budget_that_is_just_enough_stops_nothing(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(answer("echo 1 > x", cost=0.5), answer(cost=0.5))
    result = run(bench, model_server, "--hermes-max-cost=1", "--hermes-max-turns=2", "--hermes-max-seconds=100")
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*stopped*")


def test_a_run_goes_on_where_its_budget_ended_it(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(answer("echo 1 > x", cost=0.5), answer(cost=0.5))
    assert run(bench, model_server, "--hermes-max-cost=1", "-n1", tasks=2).ret == pytest.ExitCode.INTERRUPTED
    result = run(bench, model_server, "--hermes-max-cost=1", "mine::test_task[t1]", tasks=2)
    result.assert_outcomes(passed=1)
    assert [record["status"] for record in bench.records()] == ["passed", "passed"]


def test_a_budget_in_dollars_needs_prices(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(answer("true"))
    result = run(bench, model_server, "--hermes-max-cost=1", "-n1", tasks=5)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        ["hermes: stopped: --hermes-max-cost=1 cannot be enforced: the price of an answer is unknown; *--hermes-max-t*"]
    )
    assert len(model_server.requests) == 1


def test_a_budget_in_tokens_needs_counts(bench: Bench, model_server: ModelServer) -> None:
    model_server.play({**answer("true"), "usage": None})
    result = run(bench, model_server, "--hermes-max-tokens=1000", "-n1", tasks=5)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["hermes: stopped: --hermes-max-tokens=1000 cannot be enforced: *"])
    assert len(model_server.requests) == 1


def test_the_oracle_keeps_within_any_budget(bench: Bench) -> None:
    result = bench.run_inside("--hermes-bench=terminal_test", "--hermes-max-cost=0.01", "--hermes-max-tokens=1", "-n8")
    result.assert_outcomes(passed=16)
    assert result.ret == 0


def test_an_agent_in_a_test_of_one_s_own_keeps_to_the_budget(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(answer("true", cost=0.5))
    bench.file(
        "test_own.py",
        "import asyncio\ndef test_agent(hermes_agent):\n    asyncio.run(hermes_agent.run('Work.'))\n",
    )
    result = bench.run_inside(
        "test_own.py",
        f"--hermes-base-url={model_server.url}",
        "--hermes-model=tiny",
        "--hermes-max-cost=1",
        "--hermes-run-dir=out",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*BudgetSpent: the run's budget of $1.00 is spent*"])
    (record,) = bench.records()
    assert (record["error"]["kind"], record["turns_used"], record["usage"]["cost"]) == ("budget", 2, "1.0")


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("--hermes-max-cost=0", "must be an amount of dollars greater than 0, such as 2.50"),
        ("--hermes-max-cost=much", "must be an amount of dollars greater than 0, such as 2.50"),
        ("--hermes-max-tokens=-1", "must be a whole number of at least 1"),
        ("--hermes-max-turns=0", "must be a whole number of at least 1"),
        ("--hermes-max-seconds=inf", "must be a number of seconds greater than 0"),
        ("--hermes-infra-retries=-1", "must be a whole number, 0 or more"),
        ("--hermes-request-timeout=0", "must be a number of seconds greater than 0"),
    ],
)
def test_limits_that_are_none(bench: Bench, argument: str, reply: str) -> None:
    result = bench.run_inside("--hermes-bench=terminal_test", argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {argument.replace('=', '=*')}*: {reply}"])


@pytest.mark.parametrize("option", ["--hermes-max-cost=2", "--hermes-max-turns=20"])
def test_processes_share_a_budget(bench: Bench, model_server: ModelServer, option: str) -> None:
    model_server.play(answer("true", cost=0.1))
    result = run(bench, model_server, option, "--hermes-procs=2", "-n", "4", tasks=12)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert [line for line in result.outlines if line.strip()][-1].startswith("hermes: stopped: the run's budget of ")
    # At most one answer more for each of the four in flight.
    assert 20 <= len(model_server.requests) <= 24
    assert {record["error"]["kind"] for record in bench.records()} == {"budget"}
    assert {path.name for path in (bench.path / "out").iterdir()} == {"results.jsonl", "run.json"}
    # The controller has nothing but the workers' word for what was spent.
    result.stdout.no_fnmatch_line("besides *")
    result.stdout.no_fnmatch_line("*node down*")


def test_processes_share_a_run_s_time(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(answer("sleep 300"))
    result = run(bench, model_server, "--hermes-max-seconds=6", "--hermes-procs=2", "-n", "4", tasks=12)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert [line for line in result.outlines if line.strip()][-1].startswith("hermes: stopped: the run's 6 s are over")
    assert {record["error"]["kind"] for record in bench.records()} == {"budget"}
    assert len(bench.records()) == 4


def test_tests_of_one_s_own_in_several_processes_share_a_budget(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(answer("true", cost=0.1))
    bench.file(
        "test_own.py",
        "import asyncio, pytest\n@pytest.mark.parametrize('n', range(4))\n"
        "def test_agent(hermes_agent, n):\n    asyncio.run(hermes_agent.run('Work.'))\n",
    )
    arguments = ("test_own.py", f"--hermes-base-url={model_server.url}", "--hermes-model=tiny", "--hermes-run-dir=out")
    bench.run_inside(*arguments, "--hermes-max-turns=12", "-n2").assert_outcomes(failed=4)
    assert 12 <= len(model_server.requests) <= 13
    assert {record["error"]["kind"] for record in bench.records()} == {"budget"}

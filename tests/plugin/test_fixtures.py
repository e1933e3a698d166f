"""Fixtures: of benchmark items, by way of a conftest, and for users' own tests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.services.bench import Bench
from tests.services.model_server import ModelServer, Reply, completion

ASYNC = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"


def test_a_conftest_may_look_into_the_sandbox_of_every_attempt(bench: Bench) -> None:
    bench.file(
        "conftest.py",
        """
import pytest

@pytest.fixture(autouse=True)
def look(hermes_task, tool_context, rollout):
    if hermes_task.id == "create-file":
        assert tool_context.read_file("greeting.txt")["content"] == "Hello, world!\\n"
        assert tool_context.terminal("cat greeting.txt")["output"] == "Hello, world!\\n"
        assert rollout.record.status == "passed"
        assert rollout.result.finished_naturally
""",
    )
    # One in flight: a sandbox that is held must be let go before the next one can start.
    bench.run_inside("--hermes-bench=terminal_test", "-n0", "--hermes-task=c*").assert_outcomes(passed=3)


def test_a_fixture_that_fails_lets_the_sandbox_go(bench: Bench) -> None:
    bench.file(
        "conftest.py",
        "import pytest\n"
        "@pytest.fixture(autouse=True)\n"
        "def look(tool_context):\n"
        "    yield\n"
        "    raise OSError('at teardown')\n",
    )
    result = bench.run_inside("--hermes-bench=terminal_test", "-n0", "--hermes-task=c*")
    result.assert_outcomes(passed=3, errors=3)


def test_hooks_see_each_rollout_and_add_to_the_summary(bench: Bench) -> None:
    bench.file(
        "conftest.py",
        """
def pytest_hermes_rollout(item, rollout):
    print("hook saw", item.nodeid, rollout.record.reward)

def pytest_hermes_summary(config, records):
    return [f"mine      {len(records)} records"]
""",
    )
    result = bench.run_inside("--hermes-bench=terminal_test", "--hermes-task=c*", "-s")
    result.stdout.fnmatch_lines(["*hook saw terminal_test::test_task?create-file? 1.0*", "mine      3 records"])


OWN = """
import pytest

async def test_agent(hermes_agent, hermes_score, tool_context, sandbox):
    result = await hermes_agent.run("Create hello.txt that says hi.", system_prompt="Be brief.")
    assert result.finished_naturally
    assert tool_context.read_file("hello.txt")["content"] == "hi"
    assert (await sandbox.exec("cat hello.txt")).stdout == b"hi"
    hermes_score(0.5)

async def test_another_sandbox(tool_context):
    assert tool_context.terminal("ls")["output"] == ""

def test_no_task(hermes_task):
    pass
"""


def test_the_fixtures_give_an_agent_a_sandbox_and_a_score(bench: Bench, model_server: ModelServer) -> None:
    bench.file("pytest.ini", ASYNC)
    bench.file("test_own.py", OWN)
    model_server.play(completion(None, ("write_file", {"path": "hello.txt", "content": "hi"})), completion("Done."))
    arguments = (f"--hermes-base-url={model_server.url}", "--hermes-model=tiny", "--hermes-run-dir=out")
    for mode in ((), ("-n2",)):
        result = bench.run_inside(*arguments, "--junitxml=j.xml", *mode)
        result.assert_outcomes(passed=2, errors=1)
        result.stdout.fnmatch_lines(["*'hermes_task' belongs to benchmark items*use hermes_agent"])
        record = bench.records()[-1]
        assert (record["benchmark"], record["task"]) == ("tests", "test_own.py::test_agent")
        assert (record["status"], record["reward"], record["turns_used"]) == ("passed", 0.5, 2)
        assert '<property name="reward" value="0.5"' in (bench.path / "j.xml").read_text()
    assert model_server.requests[0].body["messages"][0] == {"role": "system", "content": "Be brief."}


def test_xdist_workers_with_agents_share_one_results_file(bench: Bench, model_server: ModelServer) -> None:
    bench.file("pytest.ini", ASYNC)
    tests = "".join(f"async def test_{i}(hermes_agent): await hermes_agent.run('x')\n" for i in range(4))
    bench.file("test_own.py", tests)
    bench.run_inside(f"--hermes-base-url={model_server.url}", "--hermes-model=tiny", "-n2").assert_outcomes(passed=4)
    (folder,) = (bench.path / "hermes-runs").iterdir()
    assert len(bench.records(str(folder))) == 4


def test_an_agent_without_a_model_says_how_to_configure_one(bench: Bench) -> None:
    bench.file("pytest.ini", ASYNC)
    bench.file("test_own.py", OWN)
    result = bench.run_inside("-k", "test_agent")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["hermes_agent needs a model: add --hermes-model=NAME*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*another exception*")


def test_a_dead_endpoint_is_recorded_as_an_error(bench: Bench, model_server: ModelServer) -> None:
    bench.file("pytest.ini", ASYNC)
    bench.file("test_own.py", OWN)
    model_server.play(Reply(400, '{"error": {"message": "gone"}}'))
    result = bench.run_inside(
        "-k", "test_agent", f"--hermes-base-url={model_server.url}", "--hermes-model=tiny", "--hermes-run-dir=out"
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [">       result = await hermes_agent.run(*", f"E *InfrastructureError: {model_server.url} answered 400: gone"]
    )
    text = result.stdout.str()
    # Where it came about in this package is nothing to the test's author.
    assert "endpoint.py" not in text
    assert "agent_fixture.py" not in text
    (record,) = bench.records()
    assert record["status"] == "error"
    assert record["error"] == {"kind": "endpoint", "message": f"{model_server.url} answered 400: gone"}
    # Nothing is paid for that cannot be written down.
    asked = len(model_server.requests)
    result = bench.run_inside(
        "-k",
        "test_agent",
        f"--hermes-base-url={model_server.url}",
        "--hermes-model=m",
        "--hermes-run-dir=test_own.py/x",
    )
    result.stdout.fnmatch_lines(["cannot write results to *; name another folder with --hermes-run-dir"])
    assert len(model_server.requests) == asked


SEVERAL = """
import asyncio, pytest

async def test_several(hermes_agent, hermes_score, tool_context):
    first = await hermes_agent.run("Go.")
    print("the test goes on")
    second = await hermes_agent.run("Go again.", max_turns=1)
    assert (first.stop_reason, second.stop_reason) == ("finished", "max_turns")
    assert tool_context.terminal("cat done")["output"] == "x\\nx\\n"
    hermes_score(0.25)

async def test_side_by_side(hermes_agent):
    results = await asyncio.gather(*(hermes_agent.run(f"Go {n}.") for n in range(3)))
    assert [result.turns_used for result in results] == [2, 2, 2]

async def test_cancelled(hermes_agent):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(hermes_agent.run("Sleep."), 0.5)

async def test_no_run(hermes_agent): ...

async def test_skipped(hermes_agent):
    await hermes_agent.run("Go.")
    pytest.skip("enough")

async def test_failed(hermes_agent):
    await hermes_agent.run("Go.")
    assert False
"""


def _several(body: dict[str, Any]) -> dict[str, Any]:
    sleeps = "Sleep" in str(body["messages"][0]["content"])
    command = "sleep 30" if sleeps else "echo x >> done"
    return (
        completion("Done.")
        if body["messages"][-1]["role"] == "tool"
        else completion(None, ("terminal", {"command": command}))
    )


@pytest.mark.parametrize("mode", [(), ("-n2",)], ids=["one process", "xdist"])
def test_a_test_is_one_attempt_and_its_runs_are_listed(
    bench: Bench, model_server: ModelServer, mode: tuple[str, ...]
) -> None:
    model_server.script = _several
    bench.file("pytest.ini", ASYNC)
    bench.file("test_own.py", SEVERAL)
    result = bench.run_inside(
        "test_own.py", f"--hermes-base-url={model_server.url}", "--hermes-model=tiny", "--hermes-run-dir=out",
        "--junitxml=j.xml", "--tb=no", *mode,
    )  # fmt: skip
    result.assert_outcomes(passed=4, skipped=1, failed=1)
    records = {record["task"].rpartition("::test_")[2]: record for record in bench.records()}
    assert {name: record["status"] for name, record in records.items()} == {
        "several": "passed", "side_by_side": "passed", "cancelled": "passed", "skipped": "skipped", "failed": "failed",
    }  # fmt: skip
    several = records["several"]
    assert [run["stop_reason"] for run in several["runs"]] == ["finished", "max_turns"]
    assert (several["turns_used"], several["reward"], several["finished_naturally"]) == (3, 0.25, False)
    # Each run is a conversation of its own: its messages stand after those of the one before.
    first = several["runs"][0]["messages"]
    assert [several["messages"][at]["content"] for at in (0, first)] == ["Go.", "Go again."]
    assert sum(run["messages"] for run in several["runs"]) == len(several["messages"])
    assert several["usage"]["prompt_tokens"] == sum(run["usage"]["prompt_tokens"] for run in several["runs"]) > 0
    assert len(records["side_by_side"]["runs"]) == 3
    assert records["cancelled"]["seconds"]["total"] < 20
    xml = (bench.path / "j.xml").read_text()
    case = xml[xml.index('name="test_several"') : xml.index("</testcase>", xml.index('name="test_several"'))]
    assert all(f'<property name="{name}" value="{value}"' in case for name, value in (("turns", 3), ("reward", 0.25)))
    assert '<property name="tokens" value="' in case
    # One section a model, wherever the tests ran.
    result.stdout.fnmatch_lines(["*= tests with hermes_agent, tiny =*", "score     0.250*", "passed    3 of 4 (75.0%)"])
    result.stdout.fnmatch_lines(["skipped   1 of 5: enough", "results   out/results.jsonl"])


def test_a_run_starts_afresh_until_a_tool_has_run(bench: Bench, model_server: ModelServer) -> None:
    """What a test has done to its sandbox cannot be done again, and neither can what its agent did."""
    broken = {"early": 1, "late": 1}

    def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
        which = body["messages"][0]["content"]
        if (which == "early" or body["messages"][-1]["role"] == "tool") and broken[which]:
            broken[which] -= 1
            return Reply(400, '{"error": {"message": "gone"}}')
        return (
            completion("Done.")
            if body["messages"][-1]["role"] == "tool"
            else completion(None, ("terminal", {"command": "true"}))
        )

    model_server.script = script
    bench.file(
        "test_own.py",
        "import asyncio, pytest\n@pytest.mark.parametrize('which', ['early', 'late'])\n"
        "def test_agent(hermes_agent, which):\n    asyncio.run(hermes_agent.run(which))\n",
    )
    result = bench.run_inside(
        "test_own.py", f"--hermes-base-url={model_server.url}", "--hermes-model=tiny", "--hermes-run-dir=out",
        "--hermes-infra-retries=1",
    )  # fmt: skip
    result.assert_outcomes(passed=1, failed=1)
    early, late = bench.records()
    gone = f"endpoint: {model_server.url} answered 400: gone"
    assert (early["status"], [run["error"] for run in early["runs"]]) == ("passed", [gone, None])
    assert (late["status"], [run["error"] for run in late["runs"]]) == ("error", [gone])
    assert late["error"]["kind"] == "endpoint"
    result.stdout.fnmatch_lines(["errors    1 (endpoint 1), not in the score*"])


def test_tests_with_an_agent_run_beside_a_benchmark(bench: Bench) -> None:
    bench.file(
        "test_own.py",
        "import asyncio\n"
        "def test_agent(hermes_agent):\n"
        "    asyncio.run(hermes_agent.run('x', solution='true'))\n"
        "    assert False\n",
    )
    result = bench.run_inside(
        "test_own.py", "--hermes-bench=terminal_test", "--hermes-model=oracle", "-n4", "--hermes-run-dir=out"
    )
    result.assert_outcomes(passed=16, failed=1)
    assert {record["benchmark"] for record in bench.records()} == {"terminal_test", "tests"}
    result.stdout.fnmatch_lines(["*= terminal_test, oracle =*", "passed    16 of 16 (100.0%)"])
    result.stdout.fnmatch_lines(["*= tests with hermes_agent, oracle =*", "passed    0 of 1 (0.0%)"])


def test_an_agent_of_a_test_that_has_ended_is_refused(bench: Bench) -> None:
    bench.file(
        "test_own.py",
        "import asyncio, pytest\n"
        "KEPT = []\n"
        "def test_keeps(hermes_agent): KEPT.append(hermes_agent)\n"
        "def test_kept():\n"
        "    with pytest.raises(Exception, match='belongs to a test that has ended'):\n"
        "        asyncio.run(KEPT[0].run('x', solution='true'))\n"
        "@pytest.mark.parametrize('given', [{'max_turns': 0}, {'max_turns': '3'}, {'seconds': 'x'}])\n"
        "def test_odd(hermes_agent, given):\n"
        "    with pytest.raises(Exception, match='hermes_agent.run: Limits'):\n"
        "        asyncio.run(hermes_agent.run('x', solution='true', **given))\n"
        "def test_score(hermes_score):\n"
        "    for odd in (10 ** 400, True, 'x', float('nan')):\n"
        "        with pytest.raises(TypeError, match='a score must be a finite number'): hermes_score(odd)\n"
        "def test_next(hermes_agent): asyncio.run(hermes_agent.run('x', solution='true'))\n",
    )
    result = bench.run_inside("--hermes-model=oracle", "--hermes-concurrency=1", "--hermes-run-dir=out")
    result.assert_outcomes(passed=7)
    assert [record["task"] for record in bench.records()] == ["test_own.py::test_next"]


def test_why_a_test_did_not_pass_is_in_its_record(bench: Bench) -> None:
    bench.file(
        "test_own.py",
        "import asyncio, pytest\n"
        "@pytest.fixture(autouse=True)\n"
        "def work(hermes_agent): asyncio.run(hermes_agent.run('x', solution='true'))\n"
        "def test_skip(): pytest.skip('no mood')\n"
        "def test_fail(): pytest.fail('my reason')\n"
        "def test_assert(): assert 1 == 2\n"
        "def test_xfail(): pytest.xfail('known')\n",
    )
    bench.run_inside("--hermes-model=oracle", "--hermes-run-dir=out", "--tb=no")
    reasons = {record["task"].rpartition("_")[2]: (record["status"], record["reason"]) for record in bench.records()}
    assert reasons == {
        "skip": ("skipped", "no mood"), "fail": ("failed", "my reason"), "xfail": ("skipped", "known"),
        "assert": ("failed", "AssertionError: assert 1 == 2"),
    }  # fmt: skip


@pytest.mark.parametrize("mode", [(), ("-n2",)], ids=["one process", "xdist"])
def test_benchmarks_and_tests_with_an_agent_share_a_budget(
    bench: Bench, model_server: ModelServer, mode: tuple[str, ...]
) -> None:
    model_server.play(completion(None, ("terminal", {"command": "true"})))
    bench.file("test_own.py", "import asyncio\ndef test_agent(hermes_agent): asyncio.run(hermes_agent.run('x'))\n")
    result = bench.run_inside(
        "test_own.py", "--hermes-bench=terminal_test", "--hermes-limit=2", f"--hermes-base-url={model_server.url}",
        "--hermes-model=tiny", "--hermes-max-turns=6", "--tb=no", *mode,
    )  # fmt: skip
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert len(model_server.requests) <= 9  # what was on its way when it was spent is counted as well


@pytest.mark.parametrize("disabled", ["terminal", "debugging"])
def test_a_failure_without_pytest_s_own_plugins(bench: Bench, disabled: str) -> None:
    bench.file("test_own.py", "def test_it(): assert False\n")
    result = bench.run("-p", f"no:{disabled}", "--junitxml=j.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert 'failures="1"' in (bench.path / "j.xml").read_text()

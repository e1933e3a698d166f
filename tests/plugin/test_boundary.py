"""One odd value, or one line of a benchmark's code, costs its own attempt and nothing else."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest

from tests.services.bench import Bench
from tests.services.waiting import wait_for

BENCHMARK = """
import asyncio, os, sys, time, unittest
import pytest
from pytest_hermes import Benchmark, Task, Verdict

class Hostile(Exception):
    def __str__(self):
        raise ValueError("no")

class Leaving(Exception):
    def __str__(self):
        raise GeneratorExit

class M(Benchmark):
    name = "m"
    default_model = "oracle"

    def tasks(self):
        return [Task(id=id, prompt="p", solution="true") for id in ("a", "b", "odd", "c", "d", "e")]

    async def leave(self):
        sys.exit(4)

    async def skips(self):
        pytest.skip("in a group")

    async def spin(self):
        while True: pass

    async def pause(self):
        time.sleep(4)

    async def METHOD(self, item, *arguments):
        result = arguments[0] if arguments else None
        if item.id == "odd":
            BODY
        DEFAULT
"""

RUN = ("--hermes-bench=m.py:M", "--hermes-run-dir=out", "-n4")


def benchmark(body: str, method: str = "compute_reward", **attributes: object) -> str:
    default = {
        "compute_reward": "return 1.0",
        "prepare": "await super().prepare(item, *arguments)",
        "sandbox": "return await super().sandbox(item)",
    }[method]
    text = BENCHMARK.replace("METHOD", method).replace("DEFAULT", default).replace("BODY", body)
    if method != "compute_reward":
        text += "\n    async def compute_reward(self, item, result, ctx):\n        return 1.0\n"
    lines = "".join(f"    {name} = {value!r}\n" for name, value in attributes.items())
    return text.replace('    default_model = "oracle"\n', f'    default_model = "oracle"\n{lines}')


def odd_one(bench: Bench) -> dict[str, Any]:
    """Return the odd task's record; all others have passed."""
    records = {record["task"]: record for record in bench.records()}
    odd = records.pop("odd")
    assert sorted(records) == ["a", "b", "c", "d", "e"]
    assert {record["status"] for record in records.values()} == {"passed"}
    return odd


ERRORS = {
    "raise asyncio.CancelledError": "compute_reward raised CancelledError",
    "asyncio.current_task().cancel(); await asyncio.sleep(1)": "compute_reward raised CancelledError",
    "sys.exit(3)": "compute_reward raised SystemExit: 3",
    "raise KeyboardInterrupt": "compute_reward raised KeyboardInterrupt",
    "await asyncio.gather(asyncio.to_thread(sys.exit, 3))": "compute_reward raised SystemExit: 3",
    "await asyncio.gather(self.leave())": "compute_reward raised SystemExit: 4",
    "raise GeneratorExit": "compute_reward raised GeneratorExit",
    "raise ExceptionGroup('several', [ValueError('one')])": "compute_reward raised ValueError: one",
    "raise ExceptionGroup('g', [ValueError(), KeyError()])": "compute_reward raised ExceptionGroup: g (2 sub-*",
    "raise Leaving": "compute_reward raised Leaving: (its text cannot be shown: GeneratorExit)",
    "return 10 ** 400": "compute_reward returned 1000*; it must return a finite number",
    "raise ValueError('x' * 10_000_000)": "compute_reward raised ValueError: xxx*",
    "raise Hostile": "compute_reward raised Hostile: (its text cannot be shown: ValueError)",
    "1 / 0": "compute_reward raised ZeroDivisionError: division by zero",
    "return 2.0": "compute_reward returned 2, which is not from 0 to 1; declare another range with *reward_range",
    "return -1": "compute_reward returned -1, which is not from 0 to 1; declare *",
    "return None": "compute_reward returned None; it must return a finite number",
    "return Verdict(reward=1.0, metrics={'a': 'fast'})": "compute_reward raised ValueError: *metrics*'a'*'fast'",
    "return Verdict(reward=1.0, metrics={'a': None})": "compute_reward raised ValueError: *metrics*'a'*None",
    "return Verdict(reward=1.0, failed_tests=[1])": "compute_reward raised ValueError: *failed_tests*",
    "return Verdict(reward=1.0, files={'x': 'text'})": "compute_reward raised ValueError: *files*'x'*encode it",
    "return Verdict(reward=1.0, files={'../x': b''})": "compute_reward raised ValueError: *files*'../x'*",
}


@pytest.mark.parametrize("body", ERRORS)
def test_an_error_of_the_verifier(bench: Bench, body: str) -> None:
    bench.file("m.py", benchmark(body))
    result = bench.run_inside(*RUN)
    result.assert_outcomes(passed=5, errors=1)
    error = odd_one(bench)["error"]
    assert error["kind"] == "verifier"
    result.stdout.fnmatch_lines([f"*verifier error: {ERRORS[body].replace('[', '[[]')}"])
    if "raised" in ERRORS[body] and "Group" not in body:
        assert "m.py" in error["traceback"] or "SystemExit" in error["traceback"]
    assert not (bench.path / "x").exists()


SKIPS = {
    "pytest.skip('no gpu')": "no gpu",
    "\n            async with asyncio.TaskGroup() as group: group.create_task(self.skips())": "in a group",
    "pytest.importorskip('no_such_module_here')": "could not import 'no_such_module_here'*",
    "raise unittest.SkipTest('not today')": "not today",
}


@pytest.mark.parametrize("method", ["compute_reward", "prepare", "sandbox"])
@pytest.mark.parametrize("body", SKIPS)
def test_a_skip(bench: Bench, body: str, method: str) -> None:
    bench.file("m.py", benchmark(body, method))
    result = bench.run_inside(*RUN)
    result.assert_outcomes(passed=5, skipped=1)
    odd = odd_one(bench)
    assert (odd["status"], odd["error"], odd["reward"]) == ("skipped", None, None)
    result.stdout.fnmatch_lines([f"skipped   1 of 6: {SKIPS[body]}"])


FAILURES = {
    "pytest.fail('the port is closed')": "the port is closed",
    "assert result.turns_used == 99": "assert result.turns_used == 99 (m.py:*)",
    "assert result is None, 'it did something'": "it did something (m.py:*)",
}


@pytest.mark.parametrize("body", FAILURES)
def test_a_verdict_by_assertion(bench: Bench, body: str) -> None:
    bench.file("m.py", benchmark(body))
    result = bench.run_inside(*RUN)
    result.assert_outcomes(passed=5, failed=1)
    odd = odd_one(bench)
    assert (odd["status"], odd["error"], odd["reward"]) == ("failed", None, 0.0)
    assert odd["reason"]
    result.stdout.fnmatch_lines([f"{FAILURES[body]}; reward 0 is below the threshold 1; *"])


@pytest.mark.parametrize("body", ["pytest.fail('no disk')", "assert item is None", "sys.exit(1)"])
def test_the_same_before_the_agent_is_an_error(bench: Bench, body: str) -> None:
    bench.file("m.py", benchmark(body, "prepare"))
    bench.run_inside(*RUN).assert_outcomes(passed=5, errors=1)
    odd = odd_one(bench)
    assert odd["error"]["kind"] == "setup"
    assert odd["error"]["message"].startswith("prepare raised ")


def test_an_assertion_of_the_package_is_no_verdict(bench: Bench) -> None:
    bench.file("m.py", benchmark("from pytest_hermes.config.settings import Config; exec(FAILS)") + HARNESS_ASSERTS)
    bench.run_inside(*RUN).assert_outcomes(passed=5, errors=1)
    assert odd_one(bench)["error"]["message"].startswith("compute_reward raised AssertionError")


#: Raises an AssertionError in this package's own code.
HARNESS_ASSERTS = """
FAILS = '''
import linecache, pytest_hermes.errors as errors
exec(compile("def check(): assert False", errors.__file__, "exec"), globals())
check()
'''
"""


def test_what_spoils_the_record_is_told_in_its_stead(bench: Bench) -> None:
    bench.file("m.py", benchmark("result.turns_used = 'many'; result.messages.append({'role': object()})"))
    bench.run_inside(*RUN).assert_outcomes(passed=5, errors=1)
    error = odd_one(bench)["error"]
    assert error["message"].startswith("its record cannot be written: ")


def test_a_user_s_own_stop(bench: Bench) -> None:
    bench.file("m.py", benchmark("await asyncio.sleep(0.3); pytest.exit('the lab closes')"))
    result = bench.run(*RUN[:2], "-n1")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["hermes: stopped: compute_reward ended the run: the lab closes"])
    assert [record["task"] for record in bench.records()] == ["a", "b"]


@pytest.mark.parametrize("cancelled", ["asyncio.all_tasks()", "asyncio.all_tasks() - {asyncio.current_task()}"])
def test_whoever_is_cancelled_with_it_has_a_record(bench: Bench, cancelled: str) -> None:
    bench.file("m.py", benchmark(f"[task.cancel() for task in {cancelled}]; await asyncio.sleep(0.1); return 1.0"))
    bench.run(*RUN[:2], "-n2")
    records = {record["task"]: record for record in bench.records()}
    assert len(records) == 6
    kinds = {record["error"]["kind"] for record in records.values() if record["error"]}
    assert kinds <= {"internal", "verifier"}


def test_a_declared_range(bench: Bench) -> None:
    bench.file("m.py", benchmark("return -1", reward_range=(-1.0, 5.0)))
    result = bench.run_inside(*RUN)
    result.assert_outcomes(passed=5, failed=1)
    assert odd_one(bench)["reward"] == -1.0
    result.stdout.fnmatch_lines(["score     0.667  (95 % bootstrap interval *"])
    bench.file("m.py", benchmark("return 5.1", reward_range=(-1.0, 5.0)))
    bench.run_inside("--hermes-bench=m.py:M", "--hermes-run-dir=again", "--hermes-task=odd").assert_outcomes(errors=1)
    assert bench.records("again")[0]["error"]["message"] == "compute_reward returned 5.1, which is not from -1 to 5"


# Code that blocks the event loop.

BLOCKS = {
    "c": "time.sleep(4); return 1.0",
    "python": "\n            while True: pass",
    "stubborn": "\n            while True:\n                try: pass\n                except Exception: pass",
    "nested": "await asyncio.gather(asyncio.sleep(0), self.spin())",
}


@pytest.mark.parametrize("how", BLOCKS)
def test_code_that_blocks_is_named_and_ended(bench: Bench, how: str) -> None:
    # The others have no time to give: what the odd one takes must not be theirs.
    text = benchmark(BLOCKS[how], verifier_seconds=2)
    bench.file("m.py", text.replace("        return 1.0\n", "        await asyncio.sleep(0.5)\n        return 1.0\n"))
    result = bench.run_inside(*RUN[:2], "-n6")
    result.assert_outcomes(passed=5, errors=1)
    error = odd_one(bench)["error"]
    assert error["kind"] == "verifier"
    assert error["message"].startswith("compute_reward did not finish within 2 s; it blocked the event loop")
    assert "asyncio.to_thread" in error["message"]
    result.stdout.fnmatch_lines(["*hermes: compute_reward of task 'odd' blocks the event loop at m.py:*"])


def test_several_processes_name_it_too(bench: Bench) -> None:
    bench.file("m.py", benchmark("time.sleep(2.5); return 1.0", verifier_seconds=30))
    result = bench.run(*RUN, "--hermes-procs=2")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["*hermes: compute_reward of task 'odd' blocks the event loop at m.py:*"])


def test_a_call_that_ignores_its_end_is_left_behind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_hermes.rollout.user_code._GRACE", 0.5)
    body = """
            while True:
                try: await asyncio.sleep(60)
                except asyncio.CancelledError: pass"""
    bench.file("m.py", benchmark(body, verifier_seconds=0.5))
    bench.run_inside(*RUN).assert_outcomes(passed=5, errors=1)
    assert odd_one(bench)["error"]["message"] == "compute_reward did not finish within 0.5 s"


#: Code that is nobody's known call: the others have no time to give here either.
BESIDE = {
    "callback": "asyncio.get_running_loop().call_soon(time.sleep, 4); await asyncio.sleep(0.1); return 1.0",
    "task of another thread": (
        "loop = asyncio.get_running_loop(); "
        "await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(self.pause(), loop).result()); return 1.0"
    ),
}


@pytest.mark.parametrize("how", BESIDE)
def test_code_that_blocks_beside_its_call_costs_nobody_either(bench: Bench, how: str) -> None:
    text = benchmark(BESIDE[how], verifier_seconds=2)
    bench.file("m.py", text.replace("        return 1.0\n", "        await asyncio.sleep(0.5)\n        return 1.0\n"))
    result = bench.run_inside(*RUN[:2], "-n6")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["*hermes: a callback or a background task blocks the event loop*"])


def test_threads_that_are_stuck_hold_up_neither_others_nor_the_end(bench: Bench) -> None:
    text = benchmark("pass", verifier_seconds=0.5).replace('("a", "b"', '(*(f"s{n}" for n in range(9)), "a", "b"')
    body = 'if item.id.startswith("s"):\n            await asyncio.to_thread(time.sleep, 600)\n        return 1.0\n'
    bench.file("m.py", text.replace("return 1.0\n", body))
    result = bench.run("--hermes-bench=m.py:M", "--hermes-run-dir=out", "-n3", timeout=60)
    result.assert_outcomes(passed=6, errors=9)


def test_a_child_of_a_fork_does_not_go_on_with_the_run(bench: Bench) -> None:
    bench.file("m.py", benchmark("os.fork()"))
    bench.run(*RUN).assert_outcomes(passed=6)
    assert len(bench.records()) == 6


def test_what_names_an_attempt_is_its_plan_s(bench: Bench) -> None:
    bench.file("m.py", benchmark("self.name = 5; self.revision = 7; object.__setattr__(item, 'id', 8)"))
    bench.run_inside(*RUN).assert_outcomes(passed=6)
    assert odd_one(bench)["dataset_revision"] is None


def test_a_context_variable_of_one_call_is_there_in_the_next(bench: Bench) -> None:
    text = benchmark("assert VARIABLE.get() == 'odd'") + PREPARES
    bench.file("m.py", "from contextvars import ContextVar\nVARIABLE = ContextVar('v', default='')\n" + text)
    bench.run_inside(*RUN).assert_outcomes(passed=6)


PREPARES = """
    async def prepare(self, item, ctx):
        VARIABLE.set(item.id)
"""


def test_a_skip_while_the_prompt_is_made(bench: Bench) -> None:
    text = benchmark("pass") + PROMPTS
    bench.file("m.py", text)
    bench.run_inside(*RUN).assert_outcomes(passed=5, skipped=1)
    assert odd_one(bench)["reason"] == "no words"


PROMPTS = """
    def format_prompt(self, item):
        if item.id == "odd":
            pytest.skip("no words")
        return item.prompt
"""


def test_a_verifier_that_times_itself_may_not_block_for_good(bench: Bench) -> None:
    bench.file("m.py", benchmark("\n            while True: pass", verifier_times_itself=True, verifier_seconds=1.5))
    bench.run(*RUN).assert_outcomes(passed=5, errors=1)
    error = odd_one(bench)["error"]
    assert error["kind"] == "verifier"
    assert error["message"].startswith("compute_reward did not finish; it blocked the event loop")


def test_a_run_of_before_can_be_resumed(bench: Bench) -> None:
    """Its records have none of the fields that came later."""
    bench.file("m.py", benchmark("1 / 0"))
    bench.run_inside(*RUN).assert_outcomes(passed=5, errors=1)
    path = bench.path / "out" / "results.jsonl"
    lines = []
    for record in bench.records():
        for field in ("reward_range", "reward_source", "judge_usage"):
            del record[field]
        if record["error"]:
            del record["error"]["traceback"]
        lines.append(json.dumps(record) + "\n")
    path.write_text("".join(lines))
    bench.file("m.py", benchmark("return 1.0"))
    result = bench.run_inside("--hermes-bench=m.py:M", "--hermes-resume=out", "--hermes-retry-errors", "-n4")
    result.assert_outcomes(passed=6)
    assert len(bench.records()) == 7  # the error's line, and that of its second try


@pytest.mark.parametrize("first", ["UsageError('not so')", "InfrastructureError('gone', kind='sandbox')"])
def test_what_a_group_of_tasks_wraps_means_the_same(bench: Bench, first: str) -> None:
    head = "from pytest_hermes import InfrastructureError, UsageError\n"
    bench.file("m.py", head + benchmark(f"raise ExceptionGroup('g', [{first}])"))
    bench.run_inside(*RUN).assert_outcomes(passed=5, errors=1)
    assert odd_one(bench)["error"]["kind"] == ("usage" if "Usage" in first else "sandbox")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_loses_nothing(bench: Bench, number: int) -> None:
    bench.file("m.py", benchmark("open('blocked', 'w').close(); time.sleep(600)"))
    process = bench.start(*RUN[:2], "-n2")
    assert wait_for((bench.path / "blocked").exists)
    time.sleep(1.2)
    process.send_signal(number)
    time.sleep(0.5)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "Traceback" not in output
    assert "results   out/results.jsonl" in output
    assert next(record for record in bench.records() if record["task"] == "odd")["error"]["kind"] == "interrupted"


def test_a_signal_ends_a_run_that_is_blocked_for_good(bench: Bench) -> None:
    bench.file("m.py", benchmark("open('blocked', 'w').close(); time.sleep(600)"))
    process = bench.start(*RUN[:2], "-n2")
    assert wait_for((bench.path / "blocked").exists)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "Traceback" not in output
    assert "results   out/results.jsonl" in output
    assert "problem   the run ended while compute_reward of task 'odd' blocked the event loop" in output
    odd = next(record for record in bench.records() if record["task"] == "odd")
    assert (odd["error"]["kind"], odd["turns_used"]) == ("interrupted", 2)
    # What was in flight runs again; nothing else does.
    bench.file("m.py", benchmark("return 1.0"))
    bench.run_inside("--hermes-bench=m.py:M", "--hermes-resume=out").assert_outcomes(passed=6)
    tasks = [record["task"] for record in bench.records() if not record["error"]]
    assert sorted(tasks) == ["a", "b", "c", "d", "e", "odd"]


def test_a_signal_ends_what_blocks_in_python(bench: Bench) -> None:
    bench.file("m.py", benchmark("\n            open('blocked', 'w').close()\n            while True: pass"))
    process = bench.start(*RUN[:2], "-n2")
    assert wait_for((bench.path / "blocked").exists)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "problem" not in output

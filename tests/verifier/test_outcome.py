"""What a run of tests came to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_hermes.verifier.outcome import Problem, outcome_of
from pytest_hermes.verifier.reward import Reward
from pytest_hermes.verifier.tests_run import TaskTests, TestsRun

ZERO, ONE = {"reward.txt": b"0\n"}, {"reward.txt": b"1\n"}


def outcome(printed: str = "", *, writes_report: bool = False, exit_code_is_reward: bool = False, **run: Any) -> Any:
    tests = TaskTests(write=lambda target: None, writes_report=writes_report, exit_code_is_reward=exit_code_is_reward)
    files = {"test-stdout.txt": printed.encode(), **run.pop("files", {})}
    return outcome_of(TestsRun(**{"exit_code": 0, "files": files, **run}), tests)


def report(failed: int) -> bytes:
    return json.dumps({"results": {"summary": {"tests": 2, "failed": failed}, "tests": []}}).encode()


@pytest.mark.parametrize(
    ("run", "reward"),
    [
        ({"files": ONE}, 1.0),
        ({"files": ZERO, "exit_code": 1}, 0.0),
        ({"files": ONE, "exit_code": 5}, 1.0),
        ({"files": {**ONE, "ctrf.json": report(0)}}, 1.0),
        ({"files": {**ZERO, "ctrf.json": report(2)}}, 0.0),
        # A share of the tests may be the reward.
        ({"files": {"reward.txt": b"0.5", "ctrf.json": report(1)}}, 0.5),
        ({"exit_code_is_reward": True}, 1.0),
        ({"exit_code_is_reward": True, "exit_code": 3}, 0.0),
        # Processes were killed for want of memory, but the tests passed all the same.
        ({"files": ONE, "out_of_memory": 2}, 1.0),
        # What an agent's own work prints is no sign that the tests did not run.
        ({"files": ZERO, "printed": "1 failed in 0.1s\nFAILED: uvx: command not found"}, 0.0),
        ({"files": ZERO, "printed": "mytool: command not found"}, 0.0),
        ({"files": ZERO, "printed": "curl: (7) Failed to connect to localhost port 80: Connection refused"}, 0.0),
        ({"files": ONE, "printed": "uvx: command not found", "writes_report": True}, 1.0),
    ],
)
def test_a_verdict(run: dict[str, Any], reward: float) -> None:
    found = outcome(**run)
    assert isinstance(found, Reward), found
    assert found.value == reward


@pytest.mark.parametrize(
    ("run", "text", "may_pass"),
    [
        ({}, "the tests left neither reward.json nor reward.txt", False),
        ({"printed": "a\nlast words"}, "the tests left neither reward.json nor reward.txt (last words)", False),
        ({"exit_code": None}, "the tests ran out of time", False),
        ({"problem": "no shell"}, "no shell", False),
        ({"files": ONE, "exit_code": 137}, "test.sh was ended by signal 9", False),
        ({"exit_code": 143}, "test.sh was ended by signal 15", False),
        ({"exit_code": 127, "exit_code_is_reward": True, "printed": "no"}, "test.sh cannot start (no)", False),
        ({"exit_code": 126, "printed": "no"}, "test.sh cannot start (no)", False),
        ({"files": ZERO, "out_of_memory": 1}, "the tests were killed: out of memory", False),
        ({"out_of_memory": 1, "exit_code": 137}, "the tests were killed: out of memory", False),
        (
            {"files": {**ONE, "ctrf.json": report(1)}},
            "the reward is 1, but the tests' report says that 1 failed",
            False,
        ),
        ({"files": {"reward.txt": b"2"}}, "reward.txt holds 2 as the reward, which is not from 0 to 1", False),
        ({"unfit": {"reward.txt": "is not a regular file"}}, "reward.txt is not a regular file", False),
        # Without a report that would tell, only what brings tests counts.
        ({"files": ZERO, "printed": "uvx: command not found"}, "the tests did not run (uvx: command not found)", True),
        (
            {"files": ZERO, "printed": "bash: line 3: pytest: command not found"},
            "the tests did not run (bash: line 3: pytest: command not found)",
            True,
        ),
        (
            {"files": ZERO, "printed": "/usr/bin/python: No module named pytest"},
            "the tests did not run (/usr/bin/python: No module named pytest)",
            True,
        ),
        (
            {"files": ZERO, "printed": "curl: (6) Could not resolve host: astral.sh"},
            "the tests did not run (curl: (6) Could not resolve host: astral.sh)",
            True,
        ),
        (
            {"files": ZERO, "printed": "mytool: command not found", "writes_report": True},
            "the tests did not run (mytool: command not found)",
            True,
        ),
        ({"printed": "uvx: command not found"}, "the tests left neither reward.json nor reward.txt (*)", True),
    ],
)
def test_no_verdict(run: dict[str, Any], text: str, may_pass: bool) -> None:
    found = outcome(**run)
    assert isinstance(found, Problem), found
    begins, star, _ = text.partition("*")
    assert found.text.startswith(begins) if star else found.text == text
    assert found.may_pass is may_pass

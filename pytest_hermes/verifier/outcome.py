"""What one run of a task's tests came to: a reward, or the reason why it is no verdict."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .report import read_report
from .reward import EXIT_CODE, REWARD_JSON, REWARD_TEXT, NoReward, Reward, read_reward
from .tests_run import SIGNALLED, TaskTests, TestsRun

#: Exit codes by which shells say that a script cannot be executed, or its interpreter not be found.
_CANNOT_START = (126, 127)

#: What shells and downloads say when there is nothing to test with.
_MISSING = re.compile(
    r"command not found|: not found|No such file or directory|Could not resolve|Temporary failure|"
    r"Network is unreachable|Connection (refused|timed out|reset)|Failed to (fetch|connect)|Max retries exceeded|"
    r"returned error: (429|5\d\d)|(429|50\d) [A-Z]",
    re.IGNORECASE,
)

#: The same of scripts that write no report, narrower: there, tests that ran look alike. The programs are those that
#: bring tests; a program that the agent was to install is the agent's.
_NOTHING_TO_RUN = re.compile(
    r"\b(?P<program>uvx?|pip3?|pytest|tox|nox)(: command not found|: not found|: No such file or directory)|"
    r"No module named '?pytest'?|Could not resolve host|Temporary failure (in name resolution|resolving)|"
    r"Failed to fetch|Max retries exceeded",
    re.IGNORECASE,
)
#: What test runners print once they have run tests: pytest, unittest, TAP, go test.
_RAN = re.compile(
    r"\b\d+ (passed|failed|errors?)\b|^Ran \d+ tests?|^(not )?ok \d+|^(PASS|FAIL|--- FAIL)\b", re.MULTILINE
)

#: Characters, at the end, in which these are looked for: on megabytes it takes seconds, in which everything else waits.
_LOOKED_AT = 200_000


@dataclass(frozen=True)
class Problem:
    """Why tests came to no verdict."""

    text: str
    #: Whether they may come to one when they are run again: something that they fetch could not be had.
    may_pass: bool = False


def outcome_of(run: TestsRun, tests: TaskTests) -> Reward | Problem:
    """Return the verdict that the tests came to, or why they came to none."""
    if run.problem is not None:
        return Problem(run.problem)
    if run.exit_code is None:
        return Problem("the tests ran out of time")
    try:
        reward = read_reward(run.files, run.exit_code, unfit=run.unfit, by_exit_code=tests.exit_code_is_reward)
    except NoReward as problem:
        return _without_reward(run, tests, str(problem))
    passed = reward.value > 0
    if run.out_of_memory and not passed:
        return Problem("the tests were killed: out of memory")
    if run.exit_code > SIGNALLED:
        return Problem(f"{tests.script} was ended by signal {run.exit_code - SIGNALLED}")
    if reward.source == EXIT_CODE and run.exit_code in _CANNOT_START:
        return Problem(f"{tests.script} cannot start{_because(run)}")
    failed = read_report(run.files.get("ctrf.json")).failures
    if reward.value == 1 and failed:
        return Problem(f"the reward is 1, but the tests' report says that {failed} failed")
    if not passed and _never_ran(run, tests):
        return Problem(f"the tests did not run{_because(run)}", may_pass=True)
    return reward


def _without_reward(run: TestsRun, tests: TaskTests, problem: str) -> Problem:
    """Return the more telling of the reasons why there is no reward."""
    assert run.exit_code is not None
    if run.out_of_memory:
        return Problem("the tests were killed: out of memory")
    if run.exit_code > SIGNALLED:
        return Problem(f"{tests.script} was ended by signal {run.exit_code - SIGNALLED}")
    if run.exit_code in _CANNOT_START:
        return Problem(f"{tests.script} cannot start{_because(run)}")
    found = run.files.keys() | run.unfit.keys()
    because = "" if found & {REWARD_JSON, REWARD_TEXT} else _because(run)
    return Problem(problem + because, may_pass=_never_ran(run, tests))


def _never_ran(run: TestsRun, tests: TaskTests) -> bool:
    printed = run.output[-_LOOKED_AT:]
    if "ctrf.json" in run.files:
        return False
    if tests.writes_report:
        return _MISSING.search(printed) is not None
    return _NOTHING_TO_RUN.search(printed) is not None and _RAN.search(printed) is None


def _because(run: TestsRun) -> str:
    lines = run.output.strip().splitlines()
    return f" ({lines[-1][:200]})" if lines else ""

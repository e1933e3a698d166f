"""Verification: the tests in the agent's sandbox or a fresh one, and whose fault it is when they come to no result."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import SandboxBroken, Unsupported
from ..sandbox.protocol import Sandbox
from ..tools.session import SandboxSession
from ..verdict import Verdict
from .artifacts import Spoiled, copy_artifact
from .report import read_report
from .reward import EXIT_CODE, NoReward, Reward, read_reward
from .tests_run import TaskTests, TestsRun, run_tests

#: Exit codes by which shells say that a script cannot be executed, or its interpreter not be found.
_CANNOT_START = (126, 127)
_KILLED = 128 + 9

#: What shells and downloads say when there is nothing to test with.
_MISSING = re.compile(
    r"command not found|: not found|No such file or directory|Could not resolve|Temporary failure|"
    r"Network is unreachable|Connection (refused|timed out|reset)|Failed to (fetch|connect)|Max retries exceeded|"
    r"returned error: (429|5\d\d)|(429|50\d) [A-Z]",
    re.IGNORECASE,
)


#: Characters, at the end, in which that is looked for: on megabytes it takes seconds, in which everything else waits.
_LOOKED_AT = 200_000


@dataclass(frozen=True)
class _Problem:
    """Why tests came to no result."""

    text: str
    #: Whether they may come to one when they are run again: something that they fetch could not be had.
    may_pass: bool = False


async def verify(
    session: SandboxSession,
    tests: TaskTests,
    *,
    timeout: float,
    fresh: bool,
    artifacts: Sequence[str],
    agent_acted: bool,
) -> Verdict:
    """Return the verdict of a task's tests on what was done at `session`.

    With `fresh` they run in a new sandbox of the same kind, in which the paths `artifacts` are as the agent left them:
    absolute, or relative to the working directory, which is meant when there are none. `timeout` is what the tests
    may take, in seconds. Tests that come to no result are run once more in an untouched sandbox, unless the agent
    did nothing (`agent_acted`): if they cannot do better there, it is an error and not the agent's. If they can, the
    reward is 0; but those that something they fetch was missing for are run here once more before.
    """

    async def run() -> TestsRun:
        sandbox = await session.start()
        try:
            await sandbox.end_processes()
        except SandboxBroken as broken:
            return TestsRun(problem=str(broken))
        if fresh:
            return await _run_fresh(session, tests, timeout, artifacts)
        return await run_tests(sandbox, tests, timeout)

    here = await run()
    outcome = _outcome(here, tests)
    if isinstance(outcome, _Problem) and agent_acted:
        async with session.another() as untouched:
            control = await run_tests(untouched, tests, timeout)
        solvable = isinstance(_outcome(control, tests), Reward)
        if solvable and outcome.may_pass:
            # What could not be had in one minute may be had in the next, whatever the agent did.
            here = await run()
            outcome = _outcome(here, tests)
        if solvable and isinstance(outcome, _Problem):
            # What the agent made is in their way.
            source = f"{outcome.text}; in an untouched sandbox they come to a result"
            return _verdict(here, fresh, reward=0.0, source=source)
    if isinstance(outcome, _Problem):
        return _verdict(here, fresh, error=outcome.text)
    return _verdict(here, fresh, reward=outcome.value, metrics=outcome.metrics, source=outcome.source)


async def _run_fresh(session: SandboxSession, tests: TaskTests, timeout: float, artifacts: Sequence[str]) -> TestsRun:
    sandbox = await session.start()
    async with session.another() as other:
        try:
            for path in _paths(sandbox, artifacts):
                await copy_artifact(sandbox, other, path)
        except Spoiled as spoiled:
            return TestsRun(problem=str(spoiled))
        return await run_tests(other, tests, timeout)


def _verdict(
    run: TestsRun,
    fresh: bool,
    *,
    reward: float | None = None,
    error: str | None = None,
    metrics: Mapping[str, float] | None = None,
    source: str = "",
) -> Verdict:
    report = read_report(run.files.get("ctrf.json"))
    return Verdict(
        reward=reward,
        error=error,
        metrics={**report.counts, **(metrics or {})},
        source=source,
        sandbox="fresh" if fresh else "same",
        exit_code=run.exit_code,
        failed_tests=report.failed,
        output=run.output,
        files=run.files,
    )


def check_artifacts(sandbox: Sandbox, artifacts: Sequence[str]) -> None:
    """Raise Unsupported when it is not known what of a started sandbox to copy into a fresh one."""
    if "/" in _paths(sandbox, artifacts):
        raise Unsupported(
            "a fresh verifier needs to know what to copy: the task declares no artifacts, and works in '/'"
        )


def _outcome(run: TestsRun, tests: TaskTests) -> Reward | _Problem:
    """Return the result that the tests came to, or why they came to none."""
    if run.problem is not None:
        return _Problem(run.problem)
    if run.exit_code is None:
        return _Problem("the tests ran out of time")
    outcome: Reward | _Problem
    try:
        outcome = read_reward(run.files, run.exit_code)
    except NoReward as problem:
        outcome = _Problem(str(problem))
    passed = isinstance(outcome, Reward) and outcome.value > 0
    left_reward = isinstance(outcome, _Problem) or outcome.source != EXIT_CODE
    if run.out_of_memory and not passed:
        return _Problem("the tests were killed: out of memory")
    if not left_reward and run.exit_code in _CANNOT_START:
        return _Problem(f"{tests.script} cannot start{_because(run)}")
    if not left_reward and run.exit_code == _KILLED:
        return _Problem("the tests were killed")
    said = run.output[-_LOOKED_AT:]
    if tests.writes_report and "ctrf.json" not in run.files and not passed and _MISSING.search(said):
        why = f"the tests did not run: {tests.script} left no report{_because(run)}"
        return _Problem(why, may_pass=True)
    return outcome


def _because(run: TestsRun) -> str:
    lines = run.output.strip().splitlines()
    return f" ({lines[-1][:200]})" if lines else ""


def _paths(sandbox: Sandbox, artifacts: Sequence[str]) -> list[str]:
    return [posixpath.normpath(posixpath.join(sandbox.workdir, path)) for path in artifacts or (".",)]

"""Verification: the tests in the agent's sandbox or a fresh one, and whose fault it is when they come to no result."""

from __future__ import annotations

import asyncio
import posixpath
import re
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import BinaryIO, cast

from ..errors import InfrastructureError, Unsupported
from ..sandbox.protocol import Sandbox
from ..tools.place import Place
from ..verdict import Verdict
from .report import read_report
from .reward import NoReward, Reward, read_reward
from .tests_run import TaskTests, TestsRun, end_processes, run_tests

#: Exit codes by which shells say that a script cannot be executed, or its interpreter not be found.
_CANNOT_START = (126, 127)
_KILLED = 128 + 9

#: What shells and downloads say when there is nothing to test with.
_MISSING = re.compile(
    r"command not found|: not found|No such file or directory|Could not resolve|Temporary failure|"
    r"Network is unreachable|Connection (refused|timed out|reset)|Failed to (fetch|connect)",
    re.IGNORECASE,
)

#: Makes way for a path, or, with a second argument, removes it. A folder that is somebody's working directory is only
#: emptied: it cannot always be removed.
_CLEAR = """
if [ -z "$2" ] && [ -d "$1" ] && [ ! -L "$1" ]; then
    cd -- "$1" && rm -rf -- ./* ./.[!.]* ./..?*
else
    rm -rf -- "$1"
fi
"""

#: Seconds for copying what the agent made.
_COPYING = 600.0


async def verify(
    place: Place, tests: TaskTests, *, timeout: float, fresh: bool, artifacts: Sequence[str], agent_acted: bool
) -> Verdict:
    """Return the verdict of a task's tests on what was done at `place`.

    With `fresh` they run in a new sandbox of the same kind, in which the paths `artifacts` are as the agent left them:
    absolute, or relative to the working directory, which is meant when there are none. `timeout` is what the tests
    may take, in seconds. Tests that come to no result are run once more in an untouched sandbox, unless the agent
    did nothing (`agent_acted`): if they cannot do better there, it is an error and not the agent's.
    """
    sandbox = await place.start()
    if fresh:
        run = await _run_fresh(place, sandbox, tests, timeout, artifacts)
    else:
        run = await run_tests(sandbox, tests, timeout)
    problem = _problem(run, tests)
    report = read_report(run.files.get("ctrf.json"))
    seen = partial(
        Verdict,
        failed_tests=report.failed,
        sandbox="fresh" if fresh else "same",
        exit_code=run.exit_code,
        output=run.output,
        files=run.files,
    )
    if problem is None:
        reward = _reward(run)
        if isinstance(reward, Reward):
            return seen(reward=reward.value, metrics={**report.counts, **reward.metrics}, source=reward.source)
        return seen(error=reward)
    if agent_acted:
        async with place.another() as untouched:
            control = await run_tests(untouched, tests, timeout)
        if _problem(control, tests) is None:
            # What the agent made is in their way.
            return seen(reward=0.0, source=f"{problem}, and in an untouched sandbox they come to a result")
    return seen(error=problem)


def check_artifacts(sandbox: Sandbox, artifacts: Sequence[str]) -> None:
    """Raise Unsupported when it is not known what of a started sandbox to copy into a fresh one."""
    if "/" in _paths(sandbox, artifacts):
        raise Unsupported(
            "a fresh verifier needs to know what to copy: the task declares no artifacts, and works in '/'"
        )


def _reward(run: TestsRun) -> Reward | str:
    assert run.exit_code is not None
    try:
        return read_reward(run.files, run.exit_code)
    except NoReward as problem:
        return str(problem)


def _problem(run: TestsRun, tests: TaskTests) -> str | None:
    """Return why the tests came to no result, None when they did."""
    if run.exit_code is None:
        return "the tests ran out of time"
    reward = _reward(run)
    passed = isinstance(reward, Reward) and reward.value > 0
    left_reward = isinstance(reward, str) or reward.source != "exit code"
    if run.out_of_memory and not passed:
        return "the tests were killed for want of memory"
    if not left_reward and run.exit_code in _CANNOT_START:
        return f"{tests.script} cannot start{_because(run)}"
    if not left_reward and run.exit_code == _KILLED:
        return "the tests were killed"
    if tests.writes_report and "ctrf.json" not in run.files and not passed and _MISSING.search(run.output):
        return f"the tests did not run: {tests.script} left no report of them{_because(run)}"
    return None


def _because(run: TestsRun) -> str:
    lines = run.output.strip().splitlines()
    return f" ({lines[-1][:200]})" if lines else ""


async def _run_fresh(
    place: Place, sandbox: Sandbox, tests: TaskTests, timeout: float, artifacts: Sequence[str]
) -> TestsRun:
    await end_processes(sandbox)
    async with place.another() as other:
        for path in _paths(sandbox, artifacts):
            await asyncio.wait_for(_copy(sandbox, other, path), _COPYING)
        return await run_tests(other, tests, timeout)


def _paths(sandbox: Sandbox, artifacts: Sequence[str]) -> list[str]:
    return [posixpath.normpath(posixpath.join(sandbox.workdir, path)) for path in artifacts or (".",)]


async def _copy(source: Sandbox, target: Sandbox, path: str) -> None:
    """Make `path` in `target` what it is in `source`, also when it is gone there."""
    with tempfile.TemporaryFile(prefix="hermes-") as file:
        tar = cast(BinaryIO, file)
        try:
            await source.download(path, tar)
            there = True
        except FileNotFoundError:
            there = False
        except OSError as error:
            raise _cannot_copy(path, str(error)) from error
        cleared = await target.exec(["/bin/sh", "-c", _CLEAR, "sh", path, *([] if there else ["gone"])], cwd="/")
        if cleared.exit_code:
            raise _cannot_copy(path, cleared.stderr.decode(errors="replace").strip().partition("\n")[0])
        if there:
            tar.seek(0)
            try:
                await target.upload(tar, posixpath.dirname(path))
            except OSError as error:
                raise _cannot_copy(path, str(error)) from error


def _cannot_copy(path: str, why: str) -> InfrastructureError:
    return InfrastructureError(f"{path!r} cannot be copied to the fresh sandbox: {why}", kind="verifier")

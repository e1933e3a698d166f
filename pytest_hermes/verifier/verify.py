"""Verification: a task's tests on what an agent left, in one of four modes, and whose doing it is when they fail.

The modes, and what each promises, are in docs/verification.md. One rule decides where the tests come to no verdict:
they run once more in a sandbox that no agent touched. A verdict there means that the agent is the cause.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import SandboxBroken, Unsupported
from ..sandbox.protocol import Sandbox
from ..tools.session import SandboxSession
from ..verdict import Verdict, VerifierMode
from .artifacts import Spoiled, copy_artifact
from .outcome import Problem, outcome_of
from .report import read_report
from .reward import Reward
from .system_files import changed_system_files
from .tests_run import TaskTests, TestsRun, run_tests


@dataclass(frozen=True, kw_only=True)
class _Verification:
    """The tests of one task on what was done at one session."""

    session: SandboxSession
    tests: TaskTests
    #: Seconds for each run of the tests.
    timeout: float
    artifacts: Sequence[str]

    async def in_mode(self, mode: VerifierMode) -> tuple[TestsRun, Reward | Problem]:
        """Run the tests. What the agent did to its sandbox, so that they cannot run, is a problem of the run."""
        try:
            sandbox = await self.session.start()
            if mode == "fresh":
                run = await self._fresh(sandbox)
            else:
                if mode == "strict":
                    await sandbox.end_processes()
                run = await run_tests(sandbox, self.tests, self.timeout)
        except (SandboxBroken, Spoiled) as broken:
            run = TestsRun(problem=str(broken))
        return run, outcome_of(run, self.tests)

    async def _fresh(self, sandbox: Sandbox) -> TestsRun:
        await sandbox.freeze()
        async with self.session.another() as other:
            for path in _paths(other, self.artifacts):
                await copy_artifact(sandbox, other, path)
            return await run_tests(other, self.tests, self.timeout)

    async def untouched(self) -> bool:
        """Whether the tests come to a verdict in a sandbox in which no agent was."""
        async with self.session.another() as untouched:
            control = await run_tests(untouched, self.tests, self.timeout)
        return isinstance(outcome_of(control, self.tests), Reward)


async def verify(
    session: SandboxSession,
    tests: TaskTests,
    *,
    timeout: float,
    mode: VerifierMode = "same",
    artifacts: Sequence[str] = (),
    agent_acted: bool = True,
    threshold: float = 1.0,
) -> Verdict:
    """Return the verdict of a task's tests on what was done at `session`.

    `mode` says where they run: in the agent's sandbox as the agent left it (`same`) or with its processes ended
    (`strict`), or in a new sandbox of the same kind (`fresh`), in which the paths `artifacts` are as the agent left
    them: absolute, or relative to the working directory, which is meant when there are none. `both` is `same`, then, at
    a reward of at least `threshold`, `strict`; the reward is that of the first. `timeout` is what each run of the tests
    may take, in seconds.

    Tests that come to no verdict are run once more in an untouched sandbox, unless the agent did nothing
    (`agent_acted`): if they cannot do better there, it is an error and not the agent's. If they can, the reward is 0;
    but those that something they fetch was missing for are run here once more before. Raises InfrastructureError when a
    sandbox fails by itself.
    """
    verification = _Verification(session=session, tests=tests, timeout=timeout, artifacts=artifacts)
    changed = () if mode == "fresh" else await changed_system_files(session)
    first: VerifierMode = "same" if mode == "both" else mode
    run, outcome = await verification.in_mode(first)
    tampered = None
    if isinstance(outcome, Problem) and agent_acted and await verification.untouched():
        if outcome.may_pass:
            # What could not be had in one minute may be had in the next, whatever the agent did.
            run, outcome = await verification.in_mode(first)
        if isinstance(outcome, Problem):
            tampered = f"{outcome.text}; in an untouched sandbox the tests come to a verdict"
            outcome = Reward(0.0, "untouched sandbox")
    verdict = replace(_verdict(run, outcome), mode=mode, tampered=tampered, changed_system_files=changed)
    if mode == "both" and verdict.reward is not None and verdict.reward >= threshold:
        _, second = await verification.in_mode("strict")
        verdict = replace(verdict, disagreement=_disagreement(verdict.reward, second))
    return verdict


def check_artifacts(sandbox: Sandbox, artifacts: Sequence[str]) -> None:
    """Raise Unsupported when it is not known what of a started sandbox to copy into a fresh one."""
    if "/" in _paths(sandbox, artifacts):
        raise Unsupported(
            "a fresh verifier needs to know what to copy: the task declares no artifacts, and works in '/'"
        )


def _verdict(run: TestsRun, outcome: Reward | Problem) -> Verdict:
    report = read_report(run.files.get("ctrf.json"))
    if isinstance(outcome, Problem):
        verdict = Verdict(error=outcome.text, metrics=report.counts)
    else:
        metrics = {**report.counts, **outcome.metrics}
        verdict = Verdict(reward=outcome.value, source=outcome.source, metrics=metrics)
    return replace(
        verdict,
        isolation="namespace" if run.private else "none",
        exit_code=run.exit_code,
        failed_tests=report.failed,
        output=run.output,
        files=run.files,
    )


def _disagreement(reward: float, second: Reward | Problem) -> str | None:
    """Return what the second of two verdicts says, where it says something else."""
    if isinstance(second, Problem):
        return f"strict: {second.text}"
    return None if second.value == reward else f"strict: reward {second.value:g}"


def _paths(sandbox: Sandbox, artifacts: Sequence[str]) -> list[str]:
    return [posixpath.normpath(posixpath.join(sandbox.workdir, path)) for path in artifacts or (".",)]

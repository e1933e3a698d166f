"""Every agent of the gauntlet gets the right outcome in every mode.

By default each agent runs in the modes that tell something; `pytest -m slow tests/verifier/gauntlet` runs all of them.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from pytest_hermes.dataset.archive import repack
from pytest_hermes.errors import InfrastructureError, SandboxBroken
from pytest_hermes.sandbox.docker.sandbox import DockerSandbox
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.task import SandboxSpec
from pytest_hermes.tools.session import SandboxSession
from pytest_hermes.verdict import Verdict, VerifierMode
from pytest_hermes.verifier.tests_run import TaskTests
from pytest_hermes.verifier.verify import verify
from tests.sandbox.backends import need
from tests.services.required import require
from tests.services.rows import archive
from tests.verifier.gauntlet import archives, breakage, honest, processes, programs, rewards
from tests.verifier.gauntlet.agents import EXPECTED, Agent, Outcome

GROUPS = (rewards, processes, programs, breakage, archives, honest)
MODES: tuple[VerifierMode, ...] = get_args(VerifierMode)
#: Seconds for what an agent does.
PATIENCE = 20


def cases(backend: str) -> Iterator[Any]:
    for group in GROUPS:
        kind = group.__name__.rpartition(".")[2]
        for agent in group.AGENTS:
            if backend in agent.not_with:
                continue
            for mode in MODES:
                marks = [] if mode in agent.telling else [pytest.mark.slow]
                yield pytest.param(agent, mode, id=f"{kind}-{agent.name}-{mode}", marks=marks)


def test_it_is_large_enough() -> None:
    agents = [agent for group in GROUPS for agent in group.AGENTS]
    assert len([agent for agent in agents if agent not in honest.AGENTS]) >= 60
    assert len({agent.name for agent in agents}) == len(agents)


@pytest.mark.parametrize(("agent", "mode"), list(cases("docker")))
async def test_in_a_container(agent: Agent, mode: VerifierMode, gauntlet_image: str) -> None:
    spec = SandboxSpec(image=gauntlet_image, workdir="/app", pids=200)
    await outcome_is_right(SandboxSession(functools.partial(DockerSandbox, spec, name="gauntlet")), agent, mode)


@pytest.mark.parametrize(("agent", "mode"), list(cases("bubblewrap")))
async def test_on_this_machine(agent: Agent, mode: VerifierMode) -> None:
    need("bubblewrap")
    for program in sorted(agent.needs):
        require(program, None if shutil.which(program) else f"{program} is not on PATH")
    # With a network of its own: on the machine's, a port may be taken.
    spec = SandboxSpec(pids=200, network=False)
    make = functools.partial(LocalSandbox, spec, name="gauntlet", isolation="bubblewrap")
    await outcome_is_right(SandboxSession(make), agent, mode)


async def outcome_is_right(session: SandboxSession, agent: Agent, mode: VerifierMode) -> None:
    try:
        await works(session, agent)
        sandbox = await session.start()
        isolated = sandbox.capabilities.private_folders
        try:
            verdict = await verify(session, task_tests(agent), timeout=agent.timeout, mode=mode)
        except InfrastructureError as error:
            verdict = Verdict(error=str(error))
    finally:
        await session.close()
    if agent.needs_isolation and not isolated and mode in ("same", "both"):
        assert outcome_of(verdict) in (0.0, 1.0), verdict
    else:
        assert outcome_of(verdict) == agent.outcome(mode), verdict
    assert verdict.mode == mode or verdict.error is not None


async def works(session: SandboxSession, agent: Agent) -> None:
    """Let the agent do what it does. That its commands fail, or break the sandbox, is its own business."""
    try:
        shell = await session.shell()
        await shell.run(agent.deed, timeout=PATIENCE)
        if agent.leaves:
            await shell.spawn(agent.leaves)
            await shell.run("sleep 0.2", timeout=PATIENCE)
    except SandboxBroken:
        return


def task_tests(agent: Agent) -> TaskTests:
    def write(target: Any) -> None:
        repack(archive({"expected.sh": EXPECTED}), target, top="tests", files={"test.sh": agent.tests.encode()})

    return TaskTests(write=write)


def outcome_of(verdict: Verdict) -> Outcome:
    return "error" if verdict.reward is None else verdict.reward

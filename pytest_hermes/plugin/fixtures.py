"""The fixtures: of benchmark items, and for users' own tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .captured_output import add_sections
from .items import TaskItem
from .outcomes import AttemptNotScored, properties_of
from .rollouts import LOOP, ROLLOUT

if TYPE_CHECKING:
    from ..rollout.attempt import Rollout
    from ..task import Task
    from ..tools.context import ToolContext
    from .agent_fixture import AgentFixture, TestSandbox

SCORE: pytest.StashKey[float] = pytest.StashKey()


def _task_item(request: pytest.FixtureRequest, fixture: str) -> TaskItem:
    if not isinstance(request.node, TaskItem):
        pytest.fail(
            f"{fixture!r} belongs to benchmark items (--hermes-bench); in a test of your own use hermes_agent",
            pytrace=False,
        )
    return request.node


@pytest.fixture
def hermes_task(request: pytest.FixtureRequest) -> Task:
    """The task of this benchmark item."""
    return _task_item(request, "hermes_task").attempt.planned.task


@pytest.fixture
def rollout(request: pytest.FixtureRequest) -> Rollout:
    """The finished attempt of this benchmark item: its record, the agent's result, its reward.

    An attempt that could not be scored is an error of the test, one that its backend cannot run is skipped.
    """
    item = _task_item(request, "rollout")
    rollout = item.config.stash[LOOP].take(item)
    record = rollout.record
    item.user_properties.extend(properties_of(record))
    item.stash[ROLLOUT] = rollout
    add_sections(item, rollout)
    item.ihook.pytest_hermes_rollout(item=item, rollout=rollout)
    if record.status == "skipped":
        pytest.skip(record.reason or "")
    if record.status == "error":
        raise AttemptNotScored(record)
    return rollout


@pytest.fixture
def tool_context(request: pytest.FixtureRequest) -> ToolContext:
    """A ToolContext on the sandbox of this item's attempt, or, in a test of your own, on the test's sandbox."""
    if isinstance(request.node, TaskItem):
        _check_held(request.node, "tool_context")
        finished: Rollout = request.getfixturevalue("rollout")
        return finished.context
    own: TestSandbox = request.getfixturevalue("_hermes_test_sandbox")
    return own.context


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Any:
    """The sandbox of this item's attempt, or one for a test of your own; its methods are awaited in any loop."""
    from .agent_fixture import SandboxFixture

    if isinstance(request.node, TaskItem):
        _check_held(request.node, "sandbox")
        finished: Rollout = request.getfixturevalue("rollout")
        return SandboxFixture(finished.session)
    own: TestSandbox = request.getfixturevalue("_hermes_test_sandbox")
    return SandboxFixture(own.session)


def _check_held(item: TaskItem, fixture: str) -> None:
    if not item.holds_sandbox:
        pytest.fail(
            f"the sandbox of this item is already closed: name {fixture!r} as an argument of a fixture or test; "
            "request.getfixturevalue() comes too late",
            pytrace=False,
        )


@pytest.fixture
def _hermes_test_sandbox(request: pytest.FixtureRequest) -> Iterator[TestSandbox]:
    from .agent_fixture import TestSandbox

    own = TestSandbox(request.node)
    yield own
    own.close()


@pytest.fixture
def hermes_agent(request: pytest.FixtureRequest, _hermes_test_sandbox: TestSandbox) -> Iterator[AgentFixture]:
    """An agent for a test of your own: `result = await hermes_agent.run("…")`.

    It works in the test's own sandbox, which `tool_context` and `sandbox` look into, and is answered by
    `--hermes-model`. What it did is recorded in results.jsonl like an attempt of a benchmark.
    """
    from .agent_fixture import AgentFixture

    agent = AgentFixture(request.node, _hermes_test_sandbox)
    yield agent
    agent.record(request.node.stash.get(SCORE, None))


@pytest.fixture
def hermes_score(request: pytest.FixtureRequest) -> Callable[[float], None]:
    """Give the test a score: `hermes_score(0.5)`. It stands in the reports; pass and fail stay the test's own."""

    from ..core.checks import number
    from ..core.one_line import shown

    def give(value: float) -> None:
        score = None if isinstance(value, bool) else number(value)
        if score is None or not math.isfinite(score):
            raise TypeError(f"a score must be a finite number, not {shown(value)}")
        properties = request.node.user_properties
        properties[:] = [(name, old) for name, old in properties if name != "reward"]
        properties.append(("reward", score))
        request.node.stash[SCORE] = score

    return give

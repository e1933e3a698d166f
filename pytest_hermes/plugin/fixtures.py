"""The fixtures: of benchmark items, and for users' own tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .items import TaskItem
from .outcomes import AttemptNotScored
from .rollouts import LOOP, ROLLOUT
from .separate_prints import add_sections

if TYPE_CHECKING:
    from ..rollout.attempt import Rollout
    from ..task import Task
    from ..tools.context import ToolContext
    from .own_tests import AgentFixture, OwnPlace

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
    return _task_item(request, "hermes_task").planned_item.planned.task


@pytest.fixture
def rollout(request: pytest.FixtureRequest) -> Rollout:
    """The finished attempt of this benchmark item: its record, the agent's result, its reward.

    An attempt that could not be scored is an error of the test, one that its backend cannot run is skipped.
    """
    item = _task_item(request, "rollout")
    rollout = item.config.stash[LOOP].take(item)
    record = rollout.record
    item.user_properties.extend(
        (name, value)
        for name, value in (
            ("reward", record.reward),
            ("turns", record.turns_used),
            ("tokens", record.usage.total_tokens),
            ("cost", str(record.usage.cost) if record.usage.cost is not None and record.usage.cost_source else None),
            ("attempt", record.attempt),
            ("error_kind", record.error.kind if record.error else None),
        )
        if value is not None
    )
    item.stash[ROLLOUT] = rollout
    add_sections(item, rollout)
    item.ihook.pytest_hermes_rollout(item=item, rollout=rollout)
    if record.status == "skipped":
        pytest.skip(record.reason or "")
    if record.status == "error":
        raise AttemptNotScored(rollout)
    return rollout


@pytest.fixture
def tool_context(request: pytest.FixtureRequest) -> ToolContext:
    """A ToolContext on the sandbox of this item's attempt, or, in a test of your own, on the test's sandbox."""
    if isinstance(request.node, TaskItem):
        _check_held(request.node, "tool_context")
        finished: Rollout = request.getfixturevalue("rollout")
        return finished.context
    place: OwnPlace = request.getfixturevalue("_hermes_own_place")
    return place.context


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Any:
    """The sandbox of this item's attempt, or one for a test of your own; its methods are awaited in any loop."""
    from .own_tests import SandboxFixture

    if isinstance(request.node, TaskItem):
        _check_held(request.node, "sandbox")
        finished: Rollout = request.getfixturevalue("rollout")
        return SandboxFixture(finished.place)
    place: OwnPlace = request.getfixturevalue("_hermes_own_place")
    return SandboxFixture(place.place)


def _check_held(item: TaskItem, fixture: str) -> None:
    if not item.holds_sandbox:
        pytest.fail(
            f"the sandbox of this item is closed already: name {fixture!r} as an argument of a fixture or test, "
            "request.getfixturevalue() comes too late",
            pytrace=False,
        )


@pytest.fixture
def _hermes_own_place(request: pytest.FixtureRequest) -> Iterator[OwnPlace]:
    from .own_tests import own_tests

    place = own_tests(request.config).open_place(request.node)
    yield place
    place.close()


@pytest.fixture
def hermes_agent(request: pytest.FixtureRequest, _hermes_own_place: OwnPlace) -> Iterator[AgentFixture]:
    """An agent for a test of your own: `result = await hermes_agent.run("…")`.

    It works in the test's own sandbox, which `tool_context` and `sandbox` look into, and is answered by
    `--hermes-model`. What it did is recorded in results.jsonl like an attempt of a benchmark.
    """
    from .own_tests import AgentFixture

    agent = AgentFixture(request.node, _hermes_own_place)
    yield agent
    agent.record(request.node.stash.get(SCORE, None))


@pytest.fixture
def hermes_score(request: pytest.FixtureRequest) -> Callable[[float], None]:
    """Give the test a score: `hermes_score(0.5)`. It stands in the reports; pass and fail stay the test's own."""

    def score(value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise TypeError(f"a score is a finite number, not {value!r}")
        properties = request.node.user_properties
        properties[:] = [(name, old) for name, old in properties if name != "reward"]
        properties.append(("reward", float(value)))
        request.node.stash[SCORE] = float(value)

    return score

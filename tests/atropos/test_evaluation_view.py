"""What an evaluation during training changes on its environment, and what not."""

from __future__ import annotations

import asyncio
from typing import Any

from pytest_hermes.atropos.evaluation_view import EvaluationView


class Env:
    def __init__(self) -> None:
        self.server = ["framework"]
        self.rewards = [0.5]
        self.counts = {"seen": 1}
        self.best = 0.5
        self.eval_metrics: list[float] = []

    async def compute_reward(self, item: int) -> float:
        self.rewards.append(item)
        await asyncio.sleep(0)
        self.counts["seen"] += 1
        self.best = max(self.best, item)
        return item

    async def evaluate(self) -> None:
        await asyncio.gather(*(self.note(item) for item in (1, 2, 3)))
        # Its own rewards are there to be read while it runs.
        assert sorted(self.rewards) == [0.5, 1, 2, 3]
        self.last_evaluation = "done"

    async def note(self, item: int) -> None:
        self.eval_metrics.append(await self.compute_reward(item))


async def run(env: Any, evaluate: Any) -> None:
    view = EvaluationView(env, frozenset({"server"}))
    training = asyncio.create_task(Env.compute_reward(env, 7))
    await view.run(evaluate)
    await training


async def test_rewards_leave_no_trace_and_findings_stay() -> None:
    env = Env()
    await run(env, Env.evaluate)
    # What training added meanwhile is there.
    assert env.rewards == [0.5, 7]
    assert env.counts == {"seen": 2}
    assert env.best == 7
    assert env.eval_metrics == [1, 2, 3]
    assert env.last_evaluation == "done"
    assert "compute_reward" not in vars(env)


async def test_one_that_raises_leaves_nothing() -> None:
    async def fails(env: Any) -> None:
        env.eval_metrics.append(1)
        await env.compute_reward(1)
        raise LookupError

    env = Env()
    try:
        await run(env, fails)
    except LookupError:
        pass
    else:
        raise AssertionError("it was swallowed")
    assert env.rewards == [0.5, 7]
    assert env.eval_metrics == []

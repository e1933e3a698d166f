"""What an evaluation during training sees of its environment, so that it leaves the training's metrics alone.

`compute_reward` appends to an environment's buffers, which the next `wandb_log` makes the training's metrics of.
During an evaluation it works on a copy, and what it put there is forgotten with it. What `evaluate` itself leaves
on the environment stays.
"""

from __future__ import annotations

import copy
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any

#: What can be appended to in place, and is therefore copied.
_CONTAINERS = (list, dict, set, deque, Counter)


class EvaluationView:
    """Runs `evaluate` of an environment on a copy of it. `framework` names the attributes that are not the user's."""

    def __init__(self, env: Any, framework: frozenset[str]) -> None:
        self._env = env
        self._framework = framework
        self._before = self._own(env)
        self._copy = self._copied(env)
        #: Names of what compute_reward changed.
        self._rewards: set[str] = set()
        self._copy.compute_reward = self._watched(type(env).compute_reward)

    async def run(self, evaluate: Callable[[Any], Awaitable[Any]]) -> None:
        """Call `evaluate`, a function of the environment's class; one that raises leaves nothing."""
        await evaluate(self._copy)
        self._keep()

    def _own(self, env: Any) -> dict[str, Any]:
        return {name: _snapshot(value) for name, value in vars(env).items() if name not in self._framework}

    def _copied(self, env: Any) -> Any:
        twin = copy.copy(env)
        for name, value in vars(env).items():
            if name not in self._framework and isinstance(value, _CONTAINERS):
                setattr(twin, name, copy.copy(value))
        return twin

    def _watched(self, compute_reward: Callable[..., Any]) -> Callable[..., Any]:
        async def watched(*arguments: Any, **named: Any) -> Any:
            # A copy for each call: of what all share, nobody could say whose change it is.
            mine = self._copied(self._copy)
            del mine.compute_reward
            before = self._own(mine)
            reward = compute_reward(mine, *arguments, **named)
            if isinstance(reward, Awaitable):
                reward = await reward
            for name, value in self._own(mine).items():
                if name not in before or before[name] != value:
                    self._rewards.add(name)
                    # `evaluate` may read it there.
                    _merge(self._copy, name, before.get(name), vars(mine)[name])
            return reward

        return watched

    def _keep(self) -> None:
        for name, value in vars(self._copy).items():
            if name in self._framework or name in self._rewards or name == "compute_reward":
                continue
            if name not in self._before or self._before[name] != _snapshot(value):
                _merge(self._env, name, self._before.get(name), value)


def _snapshot(value: Any) -> Any:
    return copy.copy(value) if isinstance(value, _CONTAINERS) else _Same(value)


class _Same:
    """Equal to what is the same object, or an equal number or text."""

    def __init__(self, value: Any) -> None:
        self.value = value

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return NotImplemented
        if isinstance(self.value, int | float | str | bytes | bool):
            return type(self.value) is type(other.value) and bool(self.value == other.value)
        return self.value is other.value


def _merge(target: Any, name: str, before: Any, after: Any) -> None:
    """Give `target` what was added to `before`, or the new value where it was not only added to."""
    now = vars(target).get(name)
    grown = isinstance(before, list) and isinstance(after, list) and after[: len(before)] == before
    if grown and isinstance(now, list):
        now.extend(after[len(before) :])
    else:
        setattr(target, name, after)

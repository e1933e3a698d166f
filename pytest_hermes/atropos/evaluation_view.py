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

from ..core.awaiting import awaited

#: What can be appended to, and is therefore copied.
_CONTAINERS = (list, dict, set, deque, Counter)
#: What is the same when it is equal; of other things nobody knows what equality is.
_VALUES = (*_CONTAINERS, int, float, str, bytes)


class EvaluationView:
    """Runs `evaluate` of an environment on a copy of it. `framework` names the attributes that are not the user's."""

    def __init__(self, env: Any, framework: frozenset[str]) -> None:
        self._env = env
        self._framework = framework
        self._before = self._own(env)
        self._copy = self._copied(env)
        #: Names of what compute_reward changed.
        self._rewards = {"compute_reward"}
        self._copy.compute_reward = self._watched(type(env).compute_reward)

    async def run(self, evaluate: Callable[[Any], Awaitable[Any]]) -> None:
        """Call `evaluate`, a function of the environment's class; one that raises leaves nothing."""
        await evaluate(self._copy)
        for name in self._changed(self._before, self._copy) - self._rewards:
            _merge(self._env, name, self._before.get(name), vars(self._copy)[name])

    def _own(self, env: Any) -> dict[str, Any]:
        """Return the user's attributes as they are now."""
        own = ((name, value) for name, value in vars(env).items() if name not in self._framework)
        return {name: copy.copy(value) if isinstance(value, _CONTAINERS) else value for name, value in own}

    def _copied(self, env: Any) -> Any:
        twin = copy.copy(env)
        vars(twin).update(self._own(env))
        return twin

    def _changed(self, before: dict[str, Any], env: Any) -> set[str]:
        now = self._own(env)
        return {name for name, value in now.items() if name not in before or not _is_same(before[name], value)}

    def _watched(self, compute_reward: Callable[..., Any]) -> Callable[..., Any]:
        async def watched(*arguments: Any, **named: Any) -> Any:
            # A copy for each call: of what all share, nobody could say whose change it is.
            mine = self._copied(self._copy)
            del mine.compute_reward
            before = self._own(mine)
            reward = await awaited(compute_reward(mine, *arguments, **named))
            for name in self._changed(before, mine):
                self._rewards.add(name)
                # `evaluate` may read it there.
                _merge(self._copy, name, before.get(name), vars(mine)[name])
            return reward

        return watched


def _is_same(before: Any, now: Any) -> bool:
    return before is now or (type(before) is type(now) and isinstance(now, _VALUES) and bool(before == now))


def _merge(target: Any, name: str, before: Any, after: Any) -> None:
    """Give `target` what was added to `before`, or the new value where it was not only added to."""
    now = vars(target).get(name)
    grown = isinstance(before, list) and isinstance(after, list) and after[: len(before)] == before
    if grown and isinstance(now, list):
        now.extend(after[len(before) :])
    else:
        setattr(target, name, after)

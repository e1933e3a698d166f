"""From the files that tests leave to a reward."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

#: By name, in the order in which they count.
REWARD_JSON, REWARD_TEXT, EXIT_CODE = "reward.json", "reward.txt", "exit code"


class NoReward(Exception):
    """The tests left something that is no reward; the text says what."""


@dataclass(frozen=True)
class Reward:
    value: float
    #: Where it stood.
    source: str
    #: What else stood there, as far as it is finite.
    metrics: Mapping[str, float] = field(default_factory=dict)


def read_reward(files: Mapping[str, bytes], exit_code: int) -> Reward:
    """Return the reward that tests left in `reward.json`, else in `reward.txt`, else by their exit code.

    The format is Harbor's: `reward.json` holds numbers by name, of which `reward`, or the only one, is the reward;
    `reward.txt` holds one number. Raises NoReward when the first of them that is there holds something else.
    """
    if REWARD_JSON in files:
        return _of_json(files[REWARD_JSON])
    if REWARD_TEXT in files:
        text = files[REWARD_TEXT].decode("utf-8", "replace").strip()
        try:
            return Reward(_finite(float(text)), REWARD_TEXT)
        except ValueError:
            raise NoReward(f"{REWARD_TEXT} holds {text[:80]!r}, which is not a finite number") from None
    return Reward(1.0 if exit_code == 0 else 0.0, EXIT_CODE)


def _of_json(content: bytes) -> Reward:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NoReward(f"{REWARD_JSON} is not JSON: {error}") from None
    numbers = said if isinstance(said, dict) else {"reward": said}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise NoReward(f"{REWARD_JSON} holds {value!r:.80} as {name!r}, which is not a finite number")
    if "reward" in numbers:
        reward = "reward"
    elif len(numbers) == 1:
        reward = next(iter(numbers))
    else:
        raise NoReward(f"{REWARD_JSON} has no 'reward' among {', '.join(map(repr, numbers)) or 'nothing'}")
    if not _is_finite(numbers[reward]):
        raise NoReward(f"{REWARD_JSON} holds {numbers[reward]!r:.80} as {reward!r}, which is not a finite number")
    # A mean of nothing, say, is NaN, and takes nothing away from the reward.
    others = {name: float(value) for name, value in numbers.items() if name != reward and _is_finite(value)}
    return Reward(float(numbers[reward]), REWARD_JSON, others)


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(number)
    return number


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond any float
        return False

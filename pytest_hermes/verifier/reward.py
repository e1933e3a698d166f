"""From the files that tests leave to a reward."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

#: By name, in the order in which they count.
REWARD_JSON, REWARD_TEXT, EXIT_CODE = "reward.json", "reward.txt", "exit code"

#: Not all that `float` takes: `1_0` and other scripts' digits are mistakes, or worse.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class NoReward(Exception):
    """The tests left something that is no reward; the text says what."""


@dataclass(frozen=True)
class Reward:
    value: float
    #: Where it stood.
    source: str
    #: What else stood there, as far as it is finite.
    metrics: Mapping[str, float] = field(default_factory=dict)


def read_reward(
    files: Mapping[str, bytes], exit_code: int, *, unfit: Mapping[str, str] | None = None, by_exit_code: bool = False
) -> Reward:
    """Return the reward that tests left in `reward.json`, else in `reward.txt`, else, `by_exit_code`, by that.

    The format is Harbor's: `reward.json` holds numbers by name, of which `reward`, or the only one, is the reward;
    `reward.txt` holds one number. `unfit` says of either why it does not count. Raises NoReward when the first of them
    that is there holds something else than a number from 0 to 1, or does not count, and when there is none.
    """
    for name, read in ((REWARD_JSON, _of_json), (REWARD_TEXT, _of_text)):
        if unfit and name in unfit:
            raise NoReward(f"{name} {unfit[name]}")
        if name in files:
            reward = read(files[name])
            if not 0 <= reward.value <= 1:
                raise NoReward(f"{name} holds {reward.value:g} as the reward, which is not from 0 to 1")
            return reward
    if not by_exit_code:
        raise NoReward(f"the tests left neither {REWARD_JSON} nor {REWARD_TEXT}")
    return Reward(1.0 if exit_code == 0 else 0.0, EXIT_CODE)


def _of_text(content: bytes) -> Reward:
    text = content.decode("utf-8", "replace").strip()
    if _NUMBER.fullmatch(text) is None or not math.isfinite(float(text)):
        raise NoReward(f"{REWARD_TEXT} holds {text[:80]!r}, which is not a finite number")
    return Reward(float(text), REWARD_TEXT)


def _of_json(content: bytes) -> Reward:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NoReward(f"{REWARD_JSON} is not JSON: {error}") from None
    numbers = values if isinstance(values, dict) else {"reward": values}
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


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond any float
        return False

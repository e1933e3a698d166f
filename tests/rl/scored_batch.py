"""Scored groups as a trainer takes them: rows with advantages, and two ways to spoil them."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

#: What no label is, as PyTorch's cross entropy ignores it.
IGNORED = -100

Control = Literal["none", "advantages shuffled", "masks shifted"]


@dataclass(frozen=True)
class Row:
    """One rollout as it is trained on. All lists have one entry a token."""

    tokens: list[int]
    #: The token where it is trained on, else IGNORED.
    masks: list[int]
    #: Of the policy that sampled.
    logprobs: list[float]
    advantage: float


def advantages(scores: Sequence[float]) -> list[float]:
    """Return by how many standard deviations each rollout of a group is better than their mean; all 0 for equal ones.

    As in GRPO (https://arxiv.org/abs/2402.03300, section 4.1.2).
    """
    mean = math.fsum(scores) / len(scores)
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores))
    return [(score - mean) / deviation if deviation > 1e-6 else 0.0 for score in scores]


def rows(batch: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the rollouts of a batch as the run-api delivers it: a list of scored groups.

    A row that stands in for another one has no advantage. Raises ValueError for a group without logprobs.
    """
    found: list[Row] = []
    for group in batch:
        if group["inference_logprobs"] is None:
            raise ValueError("a group came without logprobs")
        overrides = group.get("overrides") or [None] * len(group["scores"])
        better = [
            0.0 if (override or {}).get("set_advantage_to_zero") else advantage
            for override, advantage in zip(overrides, advantages(group["scores"]), strict=True)
        ]
        columns = (group["tokens"], group["masks"], group["inference_logprobs"], better)
        found += [Row(*row) for row in zip(*columns, strict=True)]
    return found


def spoiled(batch: Sequence[Row], control: Control, rng: random.Random) -> list[Row]:
    """Return a batch with what `control` says wrong with it, everything else as it was."""
    if control == "advantages shuffled":
        shuffled = rng.sample([row.advantage for row in batch], len(batch))
        return [replace(row, advantage=advantage) for row, advantage in zip(batch, shuffled, strict=True)]
    if control == "masks shifted":
        return [replace(row, masks=[IGNORED, *row.masks[:-1]]) for row in batch]
    return list(batch)

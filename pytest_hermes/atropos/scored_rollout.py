"""A rollout as training data, and its place in what goes through Atropos's own hands, which are dicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..models.tokens.trace import Segment, TokenTrace
from ..rollout.record import AttemptRecord

#: What a dict of Atropos's holds besides its own fields: a ScoredRollout or a ScoredGroup. It is never sent. Who makes
#: another dict of one (`{**row, "overrides": …}`) keeps it.
_KEY = "hermes"


@dataclass(frozen=True)
class ScoredRollout:
    """One sequence of tokens with a reward, and what it was made of."""

    record: AttemptRecord
    messages: Sequence[dict[str, Any]]
    tokens: list[int]
    #: Of each token its own id where it is trained on, else IGNORED.
    masks: list[int]
    #: Where the tokens come from: `sampled`, `retokenised` or `placeholder`.
    token_source: str
    #: Natural logarithm of the probability of each sampled token, 1.0 for others; None where a server tells none.
    inference_logprobs: list[float] | None = None
    trace: TokenTrace | None = None
    #: The trace's sequences besides this one.
    further: Sequence[Segment] = ()

    def as_item(self, *, group: str, temperature: float | None) -> dict[str, Any]:
        """Return it in the form of Atropos's `ScoredDataItem`, in which `rollout_in` finds it."""
        logprobs = {} if self.inference_logprobs is None else {"inference_logprobs": self.inference_logprobs}
        return {
            "tokens": self.tokens,
            "masks": self.masks,
            **logprobs,
            "scores": self.record.reward,
            "messages": self.messages,
            "generation_params": {
                "token_source": self.token_source,
                "model": self.record.model,
                "temperature": temperature,
                "group": group,
            },
            _KEY: self,
        }


@dataclass(frozen=True)
class ScoredGroup:
    """What the rows of a group were made of."""

    id: str | None = None
    #: Schemas of the tools that its rollouts could call.
    tools: Sequence[dict[str, Any]] = ()
    #: One for each row; None for one that an environment's own code made.
    rollouts: Sequence[ScoredRollout | None] = ()
    #: Rows, at the end, that stand for no rollout.
    padded: int = 0

    def within(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Return a group in Atropos's form, in which `group_in` finds this one."""
        return {**group, _KEY: self}


def rollout_in(item: Mapping[str, Any]) -> ScoredRollout | None:
    """Return what a row in Atropos's form was made of, None for one that an environment's own code made."""
    found = item.get(_KEY)
    return found if isinstance(found, ScoredRollout) else None


def group_in(group: Mapping[str, Any]) -> ScoredGroup:
    """Return what a group in Atropos's form was made of; nothing is known of one of an environment's own code."""
    found = group.get(_KEY)
    return found if isinstance(found, ScoredGroup) else ScoredGroup()

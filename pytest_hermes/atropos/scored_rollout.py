"""A rollout as training data, and how it is kept in Atropos's own dicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..models.tokens.trace import Segment, TokenTrace
from ..rollout.record import AttemptRecord

#: The key under which a dict of Atropos's holds what it was made of, a ScoredRollout or a ScoredGroup, besides its own
#: fields. It is never sent. Who makes another dict of one (`{**row, "overrides": …}`) keeps it.
MADE_OF = "hermes"


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
        """Return it in the form of Atropos's `ScoredDataItem`."""
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
            MADE_OF: self,
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


def group_in(group: Mapping[str, Any]) -> ScoredGroup:
    """Return what a group in Atropos's form was made of; nothing is known of one of an environment's own code."""
    made_of: ScoredGroup = group.get(MADE_OF, ScoredGroup())
    return made_of

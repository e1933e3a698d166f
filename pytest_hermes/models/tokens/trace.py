"""The token trace of a rollout: what the model was given and what it sampled, to the token.

A trace is made while the rollout runs. Sampled ids are appended as they came and are never made from text again:
other tokens of the same text are another sequence, with another probability. Trainers' formats are exports of it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: What a mask holds for a token that is not to be trained on, as PyTorch's cross entropy ignores it.
IGNORED = -100

#: Raised by one when a field changes its meaning or goes.
TRACE_VERSION = 1


@dataclass(frozen=True)
class Turn:
    """One answer of the model in a segment, with what was new in its prompt."""

    #: From 0, in the order of the rollout; unique in a trace.
    number: int
    #: Index of the first token that came into the segment for this turn.
    begin: int
    #: Index of the first sampled token: the prompt is all that stands before.
    sampled: int
    #: Index after the last sampled token.
    end: int
    #: `stop` or `length`, as the server said.
    finish_reason: str
    #: The special token by which the model ended its turn, None where it was cut off.
    stop_token: int | None
    #: Of the prompt, the sampled ids and their logprobs, taken when they came.
    digest: str


@dataclass
class Segment:
    """A sequence that grew by appending only. All lists have one entry a token."""

    #: Why it begins here and did not go on from the one before.
    why: str = ""
    tokens: list[int] = field(default_factory=list)
    #: The token where the model sampled it, else IGNORED.
    masks: list[int] = field(default_factory=list)
    #: Natural logarithm of the probability with which a token was sampled, None where it was not.
    logprobs: list[float | None] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)

    @property
    def sampled(self) -> int:
        """How many tokens the model sampled."""
        return sum(turn.end - turn.sampled for turn in self.turns)

    def inference_logprobs(self) -> list[float]:
        """Return the logprobs as Atropos and its trainers have them: 1.0, which is none, where nothing was sampled."""
        return [1.0 if logprob is None else logprob for logprob in self.logprobs]


@dataclass
class TokenTrace:
    """The segments of one rollout, in order. More than one where the agent changed what had been said."""

    segments: list[Segment] = field(default_factory=list)
    #: Special tokens by which the chat template closes a turn of the assistant.
    end_of_turn: tuple[int, ...] = ()
    #: Answers that the agent did not use, since it asked the same again. They are in no segment.
    superseded: int = 0

    @property
    def turns(self) -> Iterator[Turn]:
        for segment in self.segments:
            yield from segment.turns

    @property
    def longest(self) -> Segment:
        """The segment with most sampled tokens. Raises ValueError for a trace without any."""
        return max(self.segments, key=lambda segment: segment.sampled)

    def append(
        self,
        context: Sequence[int],
        ids: Sequence[int],
        logprobs: Sequence[float],
        *,
        finish_reason: str,
        stop_token: int | None,
        new_segment: str | None = None,
    ) -> None:
        """Add a turn: the ids that are new in its prompt, then what was sampled.

        With `new_segment`, which says why, `context` is the whole prompt of a new one.
        """
        if new_segment is not None or not self.segments:
            # A template may have said why, in words that are no text.
            self.segments.append(Segment((new_segment or "").encode("utf-8", "replace").decode()))
        segment = self.segments[-1]
        begin, sampled = len(segment.tokens), len(segment.tokens) + len(context)
        number = sum(len(one.turns) for one in self.segments)
        segment.tokens += [*context, *ids]
        segment.masks += [IGNORED] * len(context) + list(ids)
        segment.logprobs += [*([None] * len(context)), *logprobs]
        digest = digest_of(segment.tokens[:sampled], ids, logprobs, number, finish_reason, stop_token)
        segment.turns.append(Turn(number, begin, sampled, len(segment.tokens), finish_reason, stop_token, digest))

    def take_back(self) -> None:
        """Remove the last turn, whose answer the agent did not use."""
        segment = self.segments[-1]
        turn = segment.turns.pop()
        for row in (segment.tokens, segment.masks, segment.logprobs):
            del row[turn.begin :]
        if not segment.turns:
            self.segments.pop()
        self.superseded += 1

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; `from_json` gives an equal trace back."""
        segments = [
            {
                "why": one.why,
                "tokens": list(one.tokens),
                "masks": list(one.masks),
                "logprobs": list(one.logprobs),
                "turns": [dict(vars(turn)) for turn in one.turns],
            }
            for one in self.segments
        ]
        return {
            "trace_version": TRACE_VERSION,
            "segments": segments,
            "end_of_turn": list(self.end_of_turn),
            "superseded": self.superseded,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TokenTrace:
        """Return the trace that `to_json` wrote. Raises ValueError for anything else."""
        if not isinstance(value, Mapping) or value.get("trace_version") != TRACE_VERSION:
            raise ValueError(f"this is not a token trace of version {TRACE_VERSION}")
        try:
            segments = [
                Segment(
                    one["why"],
                    list(one["tokens"]),
                    list(one["masks"]),
                    list(one["logprobs"]),
                    [Turn(**turn) for turn in one["turns"]],
                )
                for one in value["segments"]
            ]
            return cls(segments, tuple(value["end_of_turn"]), value["superseded"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"this token trace is incomplete: {type(error).__name__}: {error}") from error


def digest_of(
    prompt: Sequence[int],
    ids: Sequence[int],
    logprobs: Sequence[float],
    number: int,
    finish_reason: str,
    stop_token: int | None,
) -> str:
    """Return the SHA-256 of a turn, in hexadecimal. Raises ValueError or struct.error for values that are none."""
    told = f"{number} {finish_reason} {stop_token} {len(prompt)} {len(ids)} {len(logprobs)};"
    digest = hashlib.sha256(told.encode())
    digest.update(struct.pack(f"<{len(prompt) + len(ids)}q", *prompt, *ids))
    digest.update(struct.pack(f"<{len(logprobs)}d", *logprobs))
    return digest.hexdigest()

"""Whether a trace may be trained on. What fails here is rejected with the reason, since a wrong mask trains unheard."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator

from .trace import IGNORED, Segment, TokenTrace, Turn, digest_of

#: By which a logprob may exceed 0: what rounding leaves of a probability of 1.
_ROUNDING = 1e-4


def problems(trace: TokenTrace, score: object = 0.0) -> list[str]:
    """Return what is wrong with a trace and its score, one line each; nothing for one that may be trained on."""
    found = []
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        found.append(f"the score is {score!r}, not a finite number")
    if not trace.segments:
        found.append("nothing was sampled")
    expected = 0
    for index, segment in enumerate(trace.segments):
        found += [f"segment {index}: {problem}" for problem in _of_segment(trace, segment, expected)]
        expected += len(segment.turns)
    return found


def _of_segment(trace: TokenTrace, segment: Segment, first: int) -> Iterator[str]:
    count = len(segment.tokens)
    if not len(segment.masks) == len(segment.logprobs) == count:
        yield f"{count} tokens, {len(segment.masks)} masks, {len(segment.logprobs)} logprobs"
        return
    if not all(type(token) is int and token >= 0 for token in segment.tokens):
        yield "its tokens are not all ids"
        return
    if problem := _layout(segment, first):
        yield problem
        return
    sampled = [False] * count
    for turn in segment.turns:
        sampled[turn.sampled : turn.end] = [True] * (turn.end - turn.sampled)
    for i, (token, mask, logprob) in enumerate(zip(segment.tokens, segment.masks, segment.logprobs, strict=True)):
        if type(mask) is not int or mask != (token if sampled[i] else IGNORED):
            what = f"sampled and is {token}" if sampled[i] else "not sampled"
            yield f"token {i} was {what}, but its mask is {mask!r}"
        if (logprob is not None) != sampled[i]:
            yield f"token {i} was {'' if sampled[i] else 'not '}sampled, but its logprob is {logprob!r}"
        elif logprob is not None and not _is_logprob(logprob):
            yield f"token {i} has the logprob {logprob!r}"
    for turn in segment.turns:
        yield from _of_turn(trace, segment, turn)


def _layout(segment: Segment, first: int) -> str | None:
    """Return what is wrong with where the turns stand: each has a prompt and one sampled span, without a gap."""
    if not segment.turns:
        return "it has no turn"
    end = 0
    for number, turn in enumerate(segment.turns, first):
        if not all(type(value) is int for value in (turn.number, turn.begin, turn.sampled, turn.end)):
            return f"turn {number} has no position"
        if turn.number != number:
            return f"turn {turn.number} is at the position of turn {number}"
        if turn.begin != end or not turn.begin <= turn.sampled < turn.end or turn.sampled == 0:
            return f"turn {number} spans {turn.begin}, {turn.sampled}, {turn.end}; the one before ends at {end}"
        end = turn.end
    return None if end == len(segment.tokens) else f"{len(segment.tokens)} tokens, but the last turn ends at {end}"


def _of_turn(trace: TokenTrace, segment: Segment, turn: Turn) -> Iterator[str]:
    prompt, ids = segment.tokens[: turn.sampled], segment.tokens[turn.sampled : turn.end]
    logprobs = [value for value in segment.logprobs[turn.sampled : turn.end] if value is not None]
    try:
        digest = digest_of(prompt, ids, logprobs, turn.number, turn.finish_reason, turn.stop_token)
    except (struct.error, TypeError) as error:
        digest = f"({error})"
    if digest != turn.digest:
        yield f"turn {turn.number} does not match what the server was sent and returned"
    if turn.stop_token is not None and ids[-1] != turn.stop_token:
        yield f"turn {turn.number} ends with token {ids[-1]}, not with {turn.stop_token}"
    ends = {turn.stop_token, *trace.end_of_turn}
    # With the token that follows: a template closes what the model has closed itself.
    for token, following in itertools.pairwise(segment.tokens[turn.sampled : turn.end + 1]):
        if token in ends and following in ends:
            yield f"turn {turn.number} ends twice: {token} is followed by {following}"
            return


def _is_logprob(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value <= _ROUNDING

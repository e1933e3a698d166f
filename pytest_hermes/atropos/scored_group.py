"""Scored groups: what a trainer is sent of the rollouts of one item, checked before it goes.

The form is Atropos's `ScoredData` (atroposlib/api/server.py), which its server takes misaligned as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from ..models.tokens.trace import IGNORED, Segment
from .scored_rollout import MADE_OF, ScoredGroup, group_in

#: Fields with one row a token.
_PER_TOKEN = ("advantages", "ref_logprobs", "inference_logprobs")
#: Fields with one entry a rollout.
_PER_ROLLOUT = (
    "tokens",
    "masks",
    "scores",
    *_PER_TOKEN,
    "messages",
    "overrides",
    "distill_token_ids",
    "distill_logprobs",
)

#: Fields of a sequence that is one of several segments.
_OF_SEGMENT = ("tokens", "masks", "inference_logprobs")

#: What Atropos's trainers know a row by that is not to be trained on (example_trainer/data.py).
_UNTRAINED = {"set_advantage_to_zero": True}

#: Fields that the run-api knows; what a group holds besides is for this side alone.
SENT = frozenset({*_PER_ROLLOUT, "generation_params", "group_overrides", "images", "env_id"})


def join(
    items: Sequence[Mapping[str, Any]], *, id: str, tools: Sequence[dict[str, Any]], padded: int = 0
) -> dict[str, Any]:
    """Return the group of the scored rollouts in `items`, each in the form of Atropos's `ScoredDataItem`.

    A field that only some of them have is left out, since a row could not be told from another's. `padded` rows, which
    stand for no rollout, are added to it.
    """
    made_of = ScoredGroup(id, tools, [item.get(MADE_OF) for item in items], padded)
    items = [*items, *padding(items, padded)]
    group: dict[str, Any] = {name: [item[name] for item in items] for name in ("tokens", "masks", "scores")}
    for name in (*_PER_TOKEN, "messages", "images", "distill_token_ids", "distill_logprobs"):
        rows = [item.get(name) for item in items]
        group[name] = rows if all(row is not None for row in rows) else None
    overrides = [item.get("overrides") for item in items]
    group["overrides"] = [row or {} for row in overrides] if any(row is not None for row in overrides) else None
    group["group_overrides"] = {}
    for item in items:
        group["group_overrides"].update(item.get("group_overrides") or {})
    group["generation_params"] = next(filter(None, (item.get("generation_params") for item in items)), None)
    return {**group, MADE_OF: made_of}


def padding(items: Sequence[Mapping[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return rows that stand for no rollout, to fill a group up.

    The run-api takes no None instead of a row, and keeps back a group of another size. So they have tokens, those
    of the shortest rollout, but no messages; the mean of the scores, so that what the others are measured against
    stays as it is; and Atropos's word for a row that is not trained on. One without anything unmasked would do as
    well, but trainers divide by the number of unmasked tokens.
    """
    scores = [item["scores"] for item in items]
    # Of equal numbers the mean may be another one, and a group of two scores would not be one without a signal.
    mean = scores[0] if len(set(scores)) == 1 else fmean(scores)
    shortest = min(items, key=lambda item: len(item["tokens"]))
    row = {**shortest, "scores": mean, "overrides": {**(shortest.get("overrides") or {}), **_UNTRAINED}}
    if row.get("messages") is not None:
        row["messages"] = []
    return [row] * count


def further_segments(group: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return groups of what a group's rollouts sampled before or after the sequence that stands in it.

    Each has the rollouts in the same order with the same scores, so a sequence has the advantage of its rollout in
    whichever group it stands. A rollout that has no further segment is there as a sequence that is not trained on.
    None for a group with values for each token that only its maker knows.
    """
    made_of = group_in(group)
    further = [rollout.further if rollout else () for rollout in made_of.rollouts] + [()] * made_of.padded
    theirs = ("advantages", "ref_logprobs", "distill_token_ids", "distill_logprobs")
    if len(further) != len(group["tokens"]) or any(group.get(name) is not None for name in theirs):
        return []
    if group.get("inference_logprobs") is None:
        return []
    shared = {name: group[name] for name in ("scores", "group_overrides") if group.get(name) is not None}
    overrides = group.get("overrides") or [{}] * len(further)
    parts = []
    for index in range(max(map(len, further), default=0)):
        rows = [_segment_row(group, row, index, segments) for row, segments in enumerate(further)]
        part: dict[str, Any] = {name: [row[name] for row in rows] for name in _OF_SEGMENT}
        trained = [index < len(segments) for segments in further]
        part["overrides"] = [own if on else {**own, **_UNTRAINED} for own, on in zip(overrides, trained, strict=True)]
        part["generation_params"] = {**(group.get("generation_params") or {}), "segment": index + 1}
        parts.append({**shared, **part})
    return parts


def _segment_row(group: Mapping[str, Any], row: int, index: int, segments: Sequence[Segment]) -> dict[str, Any]:
    own = {name: group[name][row] for name in _OF_SEGMENT}
    rows = [
        {"tokens": one.tokens, "masks": one.masks, "inference_logprobs": one.inference_logprobs()} for one in segments
    ]
    return rows[index] if index < len(rows) else min([own, *rows], key=lambda one: len(one["tokens"]))


def as_sent(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return what goes over the wire: the server's fields, each message with the `content` it insists on."""
    sent = {name: value for name, value in group.items() if name in SENT}
    if sent.get("messages"):
        sent["messages"] = [[{"content": None, **message} for message in row] for row in sent["messages"]]
    return sent


def why_not(
    group: Mapping[str, Any], *, size: int | None, below: int | None, scores_differ: bool
) -> tuple[str, str] | None:
    """Return why a group is not used, as a kind that is counted and the details; None if it is.

    `size` is what `problems` takes. Sequences must stay `below` that many tokens (None: no limit). With `scores_differ`
    not all scores may be the same.
    """
    if wrong := problems(group, size):
        return "invalid", "; ".join(wrong[:5])
    if scores_differ and len(set(group["scores"])) == 1:
        return "with equal scores", f"all {len(group['scores'])} rollouts have {group['scores'][0]:g}"
    longest = max(len(row) for row in group["tokens"])
    if below is not None and longest >= below:
        details = (
            f"a sequence has {longest} tokens, but the trainer takes fewer than {below} (its max_token_len); lower "
            "env.max_token_length or env.max_agent_turns, or raise the trainer's max_token_len"
        )
        return "too long", details
    return None


def problems(group: Mapping[str, Any], size: int | None) -> list[str]:
    """Return what is wrong with a group of `size` rollouts; nothing for one that may be used.

    None: of any number, which need no tokens to train on.
    """
    return list(_problems(group, size))


def _problems(group: Mapping[str, Any], size: int | None) -> Iterator[str]:
    tokens = group.get("tokens")
    if not isinstance(tokens, list) or not tokens:
        yield "no tokens"
        return
    if size is not None and len(tokens) != size:
        yield f"{len(tokens)} rollouts, not {size}"
    for name in _PER_ROLLOUT:
        rows = group.get(name)
        if (rows is not None or name in ("masks", "scores")) and (
            not isinstance(rows, list) or len(rows) != len(tokens)
        ):
            yield f"{len(tokens)} rows of tokens, {len(rows) if isinstance(rows, list) else 'no'} of {name}"
            return
    for row, sequence in enumerate(tokens):
        yield from (f"rollout {row}: {problem}" for problem in _of_row(group, row, sequence, size is not None))


def _of_row(group: Mapping[str, Any], row: int, tokens: Any, trained: bool) -> Iterator[str]:
    if not tokens or not all(isinstance(token, int) and token >= 0 for token in tokens):
        yield "its tokens are not ids"
        return
    masks = group["masks"][row]
    if len(masks) != len(tokens):
        yield f"{len(tokens)} tokens, {len(masks)} masks"
    elif any(mask not in (IGNORED, token) for mask, token in zip(masks, tokens, strict=True)):
        yield f"a mask is neither {IGNORED} nor its token"
    elif trained and all(mask == IGNORED for mask in masks):
        yield "none of its tokens is trained on"
    if not _is_number(group["scores"][row]):
        yield f"its score is {group['scores'][row]!r}"
    for name in _PER_TOKEN:
        if group.get(name) is None:
            continue
        values = group[name][row]
        if len(values) != len(tokens):
            yield f"{len(tokens)} tokens, {len(values)} {name}"
        elif not all(_is_number(value) for value in values):
            yield f"{name} holds a value that is not a finite number"
    messages = group["messages"][row] if group.get("messages") is not None else ()
    if any(not isinstance(message, Mapping) or "role" not in message for message in messages):
        yield "a message has no role"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

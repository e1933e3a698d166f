"""Scored groups: what a trainer is sent of the rollouts of one item, checked before it goes.

The form is Atropos's `ScoredData` (atroposlib/api/server.py), which its server takes misaligned as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..models.tokens.trace import IGNORED

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

#: Fields that the run-api knows; what a group holds besides is for this side alone.
SENT = frozenset({*_PER_ROLLOUT, "generation_params", "group_overrides", "images", "env_id"})


def join(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the group of the scored rollouts in `items`, each in the form of Atropos's `ScoredDataItem`.

    A field that only some of them have is left out, since a row could not be told from another's.
    """
    group: dict[str, Any] = {name: [item[name] for item in items] for name in ("tokens", "masks", "scores")}
    for name in (*_PER_TOKEN, "messages", "overrides", "images", "distill_token_ids", "distill_logprobs"):
        rows = [item.get(name) for item in items]
        group[name] = rows if rows and all(row is not None for row in rows) else None
    group["group_overrides"] = {}
    for item in items:
        group["group_overrides"].update(item.get("group_overrides") or {})
    parameters = [item["generation_params"] for item in items if item.get("generation_params")]
    group["generation_params"] = parameters[0] if parameters else None
    return group


def padding(items: Sequence[Mapping[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return rows that fill a group up and teach nothing: its shortest rollout with the mean of the scores.

    Its advantage is zero, and that of the others is measured against the same mean. A row without anything unmasked
    would do as well, but trainers divide by the number of unmasked tokens.
    """
    mean = sum(item["scores"] for item in items) / len(items)
    shortest = min(items, key=lambda item: len(item["tokens"]))
    return [{**shortest, "scores": mean} for _ in range(count)]


def as_sent(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return what goes over the wire: the server's fields, each message with the `content` it insists on."""
    sent = {name: value for name, value in group.items() if name in SENT}
    if sent.get("messages"):
        sent["messages"] = [[{"content": None, **message} for message in row] for row in sent["messages"]]
    return sent


def problems(group: Mapping[str, Any], size: int | None, *, trained: bool = True) -> list[str]:
    """Return what is wrong with a group of `size` rollouts (None: of any number); nothing for one that may be used.

    `trained`: each rollout must have tokens to train on.
    """
    return list(_problems(group, size, trained))


def _problems(group: Mapping[str, Any], size: int | None, trained: bool) -> Iterator[str]:
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
        yield from (f"rollout {row}: {problem}" for problem in _of_row(group, row, sequence, trained))


def _of_row(group: Mapping[str, Any], row: int, tokens: Any, trained: bool) -> Iterator[str]:
    if not tokens or not all(isinstance(token, int) and token >= 0 for token in tokens):
        yield "its tokens are no ids"
        return
    masks = group["masks"][row]
    if len(masks) != len(tokens):
        yield f"{len(tokens)} tokens, {len(masks)} masks"
    elif any(mask not in (IGNORED, token) for mask, token in zip(masks, tokens, strict=True)):
        yield f"a mask is neither {IGNORED} nor its token"
    elif trained and all(mask == IGNORED for mask in masks):
        yield "no token of it is trained on"
    if not _is_number(group["scores"][row]):
        yield f"its score is {group['scores'][row]!r}"
    for name in _PER_TOKEN:
        if group.get(name) is None:
            continue
        values = group[name][row]
        if len(values) != len(tokens):
            yield f"{len(tokens)} tokens, {len(values)} {name}"
        elif not all(_is_number(value) for value in values):
            yield f"{name} holds what is no finite number"
    messages = group["messages"][row] if group.get("messages") is not None else ()
    if any(not isinstance(message, Mapping) or "role" not in message for message in messages):
        yield "a message has no role"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

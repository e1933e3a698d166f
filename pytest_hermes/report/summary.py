"""The summary of a run as lines of text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..benchmark import REWARD_RANGE
from .numbers import counted, duration
from .spending import cost_text, fault_rows, judge_rows, tokens_text
from .statistics import estimate_mean, mean_score
from .verification import verification_rows

if TYPE_CHECKING:
    from ..rollout.record import AttemptRecord

_LABEL = 10

#: Reasons for skipping that are listed.
_REASONS = 5

#: Difficulties that are listed in this order; other names follow, by the alphabet.
_DIFFICULTIES = ("trivial", "easy", "medium", "hard", "extreme")


def summary_lines(records: Sequence[AttemptRecord], planned: int) -> list[str]:
    """Return the lines for the attempts of one benchmark; `planned` is how many there were to be."""
    lines = [*_score_lines(records, planned)]
    lines += [_row(label, text) for label, text in verification_rows(records)]
    for field in ("category", "difficulty"):
        lines += _group_lines(field, records)
    lines += ["", _row("tokens", tokens_text(records))]
    if (cost := cost_text(records)) is not None:
        lines.append(_row("cost", cost))
    lines += [_row(label, text) for label, text in (*judge_rows(records), *fault_rows(records))]
    lines += _time_lines(records)
    return lines


def _row(label: str, text: str) -> str:
    return f"{label:<{_LABEL}}{text}"


def _scores(records: Sequence[AttemptRecord]) -> dict[str, list[float]]:
    by_task: dict[str, list[float]] = {}
    for record in records:
        if record.reward is not None and record.status in ("passed", "failed"):
            by_task.setdefault(record.task, []).append(record.reward)
    return by_task


def _reward_range(records: Sequence[AttemptRecord]) -> tuple[float, float]:
    """Return what holds the ranges of all: an earlier session of the run may have declared another."""
    ranges = [record.reward_range for record in records] or [REWARD_RANGE]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _score_lines(records: Sequence[AttemptRecord], planned: int) -> Iterator[str]:
    counts = Counter(record.status for record in records)
    scored = counts["passed"] + counts["failed"]
    scores = _scores(records)
    estimate = estimate_mean(scores, reward_range=_reward_range(records))
    if estimate is None and not scored:
        yield _row("score", "none: no attempt was scored")
    if estimate is not None:
        interval = "bootstrap interval" if estimate.method == "bootstrap" else "interval"
        over = f", {counted(len(scores), 'task')}" if len(scores) != estimate.n else ""
        yield _row(
            "score",
            f"{estimate.mean:.3f}  (95 % {interval} {estimate.low:.3f} to {estimate.high:.3f}, n = {estimate.n}{over})",
        )
    if scored:
        yield _row("passed", f"{counts['passed']} of {scored} ({counts['passed'] / scored:.1%})")
    yield _row("errors", _errors(records, scored))
    if counts["skipped"]:
        yield _row("skipped", _skipped(records))
    if len(records) < planned:
        yield _row("stopped", f"{planned - len(records)} of {planned} attempts did not finish and are not counted")


def _skipped(records: Sequence[AttemptRecord]) -> str:
    reasons = Counter(record.reason or "no reason given" for record in records if record.status == "skipped")
    named = [f"{reason}{f' ({count})' if count > 1 else ''}" for reason, count in reasons.most_common(_REASONS)]
    more = [f"and {counted(len(reasons) - _REASONS, 'more reason')}"] if len(reasons) > _REASONS else []
    return f"{reasons.total()} of {len(records)}: {'; '.join([*named, *more])}"


def _errors(records: Sequence[AttemptRecord], scored: int) -> str:
    kinds = Counter(record.error.kind for record in records if record.error is not None)
    errors = kinds.total()
    if not errors:
        return "0"
    listing = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    scores = _scores(records)
    mean, counted_in = mean_score(scores) or 0.0, sum(map(len, scores.values()))
    with_errors = mean * (counted_in / (scored + errors))
    return f"{errors} ({listing}), not in the score; score with errors as 0: {with_errors:.3f}"


def _group_lines(field: str, records: Sequence[AttemptRecord]) -> Iterator[str]:
    groups: dict[str, list[AttemptRecord]] = {}
    for record in records:
        name = getattr(record, field)
        if name is not None:
            groups.setdefault(name, []).append(record)
    if not groups:
        return
    width = max(len(field), *(len(name) for name in groups))
    yield ""
    yield f"{field:<{width}}  {'score':>6}  {'passed':>8}  {'errors':>6}"
    for name, members in sorted(groups.items(), key=lambda group: _order(group[0])):
        score = mean_score(_scores(members))
        counts = Counter(record.status for record in members)
        mean = "-" if score is None else f"{score:.3f}"
        passed = f"{counts['passed']}/{counts['passed'] + counts['failed']}"
        yield f"{name:<{width}}  {mean:>6}  {passed:>8}  {counts['error']:>6}"


def _order(name: str) -> tuple[int, str]:
    return (_DIFFICULTIES.index(name.lower()) if name.lower() in _DIFFICULTIES else len(_DIFFICULTIES), name)


def _time_lines(records: Sequence[AttemptRecord]) -> Iterator[str]:
    parts = {
        "model": math.fsum(record.seconds.model for record in records),
        "tools": math.fsum(record.seconds.tools for record in records),
        "verifier": math.fsum(record.seconds.verifier for record in records),
        "sandbox start": math.fsum(record.seconds.sandbox_start for record in records),
    }
    if backoff := math.fsum(record.seconds.backoff for record in records):
        parts["endpoint faults"] = backoff
    total = math.fsum(record.seconds.total for record in records)
    if total > 0:
        shares = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in parts.items())
        yield _row("time", f"{duration(total)} in rollouts: {shares}")
    queue = math.fsum(record.seconds.queue for record in records) / max(len(records), 1)
    if queue >= 1:
        yield _row("queue", f"{duration(queue)} on average before a rollout started")

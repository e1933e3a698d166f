"""What a run used: tokens, money, and what an endpoint's faults cost it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..result import add_exactly, dollars
from .numbers import counted

if TYPE_CHECKING:
    from ..result import Usage
    from ..rollout.record import AttemptRecord, UsageInfo

_SOURCES = {
    "provider": "reported by the provider",
    "genai-prices": "list prices, from genai-prices",
    "genai-prices+provider": "reported by the provider, or else list prices",
}


def usages(record: AttemptRecord) -> list[UsageInfo]:
    """Return what an attempt used, all its starts."""
    return [record.usage, *(earlier.usage for earlier in record.earlier_errors)]


def judge_usages(record: AttemptRecord) -> list[UsageInfo]:
    """Return what the judge used for an attempt, all its starts."""
    return [record.judge_usage, *(earlier.judge_usage for earlier in record.earlier_errors)]


def tokens_text(records: Sequence[AttemptRecord]) -> str:
    used = [usage for record in records for usage in usages(record)]
    return f"{_tokens(used)}, in {counted(sum(record.turns_used for record in records), 'turn')}"


def _tokens(used: Sequence[UsageInfo]) -> str:
    cached = sum(usage.cached_tokens for usage in used)
    of_cache = f" ({cached:,} of them cached)" if cached else ""
    prompt, completion = sum(usage.prompt_tokens for usage in used), sum(usage.completion_tokens for usage in used)
    return f"{prompt:,} in{of_cache}, {completion:,} out"


def judge_rows(records: Sequence[AttemptRecord]) -> Iterator[tuple[str, str]]:
    """Yield label and text of who scored, and of what the judge used; nothing where no judge was asked."""
    scorers = Counter(record.reward_source for record in records if record.reward_source is not None)
    if scorers:
        yield "judge", f"{scorers['judge']} scored by the judge, {scorers['heuristic']} by the heuristic"
    used = [usage for record in records for usage in judge_usages(record)]
    cost = cost_text(records, judge_usages)
    if cost is not None or any(usage.total_tokens for usage in used):
        yield "judging", f"tokens {_tokens(used)}{f'; cost {cost}' if cost is not None else ''}"


def cost_text(
    records: Sequence[AttemptRecord], usages: Callable[[AttemptRecord], Sequence[UsageInfo]] = usages
) -> str | None:
    """Return what the attempts cost, None where nothing was charged. What is not known is never taken for 0."""
    used = [usage for record in records for usage in usages(record)]
    unknown = sum(any(usage.cost is None for usage in usages(record)) for record in records)
    sources = sorted({name for usage in used for name in (usage.cost_source or "").split("+") if name})
    if not sources:
        return "unknown: the endpoint reports no cost, and there is no list price" if unknown else None
    total = dollars(add_exactly(*(usage.cost for usage in used if usage.cost is not None)))
    if unknown:
        return f"at least {total}; unknown for {counted(unknown, 'attempt')}"
    return f"{total} ({_SOURCES.get('+'.join(sources), ', '.join(sources))})"


def known_cost(spent: Usage, records: Sequence[AttemptRecord]) -> str | None:
    """Return the sum of what is known so far, rounded to cents and marked as a lower bound where it is one.

    `spent` is what all answers used; should the price of one not be known, what the records say is left.
    """
    if spent.cost is not None:
        return f"${spent.cost:,.2f}" if spent.cost_source else None
    used = [usage for record in records for usage in usages(record)]
    if not any(usage.cost_source for usage in used):
        return None
    total = add_exactly(*(usage.cost for usage in used if usage.cost is not None))
    least = "at least " if any(usage.cost is None for usage in used) else ""
    return f"{least}${total:,.2f}"


def unrecorded_text(
    spent: Usage, records: Sequence[AttemptRecord], usages: Callable[[AttemptRecord], Sequence[UsageInfo]] = usages
) -> str | None:
    """Return what was spent on attempts that were cancelled and left no record, None when that is nothing."""
    used = [usage for record in records for usage in usages(record)]
    tokens = spent.total_tokens - sum(usage.total_tokens for usage in used)
    if tokens <= 0:
        return None
    costs = [usage.cost for usage in used]
    if spent.cost is None or not spent.cost_source:
        cost = "at an unknown cost"
    else:
        cost = f"for {dollars(add_exactly(spent.cost, *(-cost for cost in costs if cost is not None)))}"
    return f"{counted(tokens, 'token')} {cost}, in attempts that were cancelled"


def fault_rows(records: Sequence[AttemptRecord]) -> Iterator[tuple[str, str]]:
    """Yield label and text of what was done again."""
    unusable = Counter(again.why for record in records for again in record.asked_again)
    if unusable:
        listing = ", ".join(f"{why} {count}" for why, count in unusable.most_common())
        yield "unusable", f"{counted(unusable.total(), 'answer')} asked for again ({listing})"
    retries = sum(record.retries for record in records)
    if retries:
        yield "retries", f"{counted(retries, 'request')} repeated after a fault of the endpoint"
    kinds = Counter(earlier.kind for record in records for earlier in record.earlier_errors)
    if kinds:
        listing = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        yield "restarts", f"{kinds.total()} after errors ({listing})"

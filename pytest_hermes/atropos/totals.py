"""The totals of a training: what was sent, and what was not, in metrics and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..report.numbers import counted

if TYPE_CHECKING:
    from .base_env import HermesAgentBaseEnv


def in_metrics(env: HermesAgentBaseEnv) -> dict[str, int]:
    """Return what went wrong so far, as metrics; what never happened is in none."""
    dropped = env.trainer.groups_dropped
    counts = {f"train/groups_dropped/{kind.replace(' ', '_')}": number for kind, number in dropped.items()}
    counts["train/rows_padded"] = env.ledger.rows_padded
    counts["train/traces_rejected"] = env.runner.traces_rejected
    counts["train/rewards_by_heuristic"] = env.runner.rewards_by_heuristic
    counts["eval/failed_evaluations"] = env.failed_evaluations
    return {name: number for name, number in counts.items() if number}


def in_words(env: HermesAgentBaseEnv) -> str:
    """Return how many groups were sent, and what was not."""
    words = [f"{counted(env.trainer.groups_sent, 'group')} sent"]
    words += [f"{count} dropped {kind}" for kind, count in env.trainer.groups_dropped.items()]
    if env.runner.traces_rejected:
        words.append(f"traces rejected: {env.runner.traces_rejected}")
    if env.runner.rewards_by_heuristic:
        words.append(f"rewards by the heuristic: {env.runner.rewards_by_heuristic}")
    return ", ".join(words)

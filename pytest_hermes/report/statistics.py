"""The mean score of a run and how sure it is."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, quantiles
from typing import Literal

from ..benchmark import REWARD_RANGE

#: Sums of the squares of larger scores would overflow. They are reckoned with by a smaller unit, a power of two.
_LARGE = 2.0**400
_UNIT = 2.0**600

#: Resamples of a bootstrap: the ends of a 95 % interval then vary by about a sixtieth of its width.
_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float
    #: Scores it was made from.
    n: int
    #: What made the interval.
    method: Literal["wilson", "bootstrap"] = "wilson"


def mean_score(scores_by_task: Mapping[str, Sequence[float]]) -> float | None:
    """Return the mean of all scores, None when there are none."""
    scores = [score for task in scores_by_task.values() for score in task]
    unit = _unit(scores)
    return _mean([score / unit for score in scores]) * unit if scores else None


def _mean(scores: Sequence[float]) -> float:
    # A sum is rounded: that of three equal scores may be more than three times as much.
    return min(max(math.fsum(scores) / len(scores), min(scores)), max(scores))


def _unit(scores: Iterable[float]) -> float:
    """Return what to divide scores by, so that nothing that is made of them overflows."""
    return _UNIT if any(abs(score) > _LARGE for score in scores) else 1.0


def estimate_mean(
    scores_by_task: Mapping[str, Sequence[float]], *, reward_range: tuple[float, float] = REWARD_RANGE
) -> Estimate | None:
    """Return the mean of all scores with a 95 % interval that knows which attempts are of the same task.

    `reward_range` is the lowest and the highest score there can be; scores beyond it widen it. Of 0 to 1, the interval
    is Wilson's. Attempts of one task resemble each other, so the variance of the mean is the cluster-robust one: the
    sum over tasks of the squared sums of deviations, over n² (Miller, "Adding Error Bars to Evals", arXiv:2411.00640).
    It gives an effective sample size p(1-p)/variance, and that the Wilson interval (Wilson 1927; with effective sizes:
    Dean and Pagano, J. Surv. Stat. Methodol. 2015), which neither leaves 0 to 1 nor shrinks to a point when every task
    passed. One attempt a task with scores 0 and 1 gives the plain Wilson interval.

    Of another range it is a percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, ch.
    13) that draws whole tasks, with replacement (Field and Welsh, J. R. Stat. Soc. B 69, 2007): nothing tells
    beforehand how scores spread over such a range. With fewer than ten tasks it is a little too narrow. Resampling
    cannot see what never happened: where the means of all tasks are equal, or there is only one task, it is Wilson's on
    the scores scaled to 0 to 1. The same scores give the same interval, whatever their order. Returns None when there
    are no scores.
    """
    unit = _unit([*reward_range, *(score for task in scores_by_task.values() for score in task)])
    tasks = [[score / unit for score in task] for task in scores_by_task.values() if task]
    low, high = (bound / unit for bound in reward_range)
    estimate = _estimate(tasks, low, high) if tasks else None
    if estimate is None or unit == 1.0:
        return estimate
    return replace(estimate, mean=estimate.mean * unit, low=estimate.low * unit, high=estimate.high * unit)


def _estimate(tasks: Sequence[Sequence[float]], lowest: float, highest: float) -> Estimate:
    scores = [score for task in tasks for score in task]
    mean = _mean(scores)
    bottom, top = min(lowest, *scores), max(highest, *scores)
    means = [math.fsum(task) / len(task) for task in tasks]
    if (bottom, top) != (0.0, 1.0) and max(means) - min(means) > 1e-12 * (top - bottom):
        low, high = _bootstrap(tasks)
        method: Literal["wilson", "bootstrap"] = "bootstrap"
    else:
        width = top - bottom or 1.0  # of a range that is a point, all scores are that
        low, high = _wilson([[(score - bottom) / width for score in task] for task in tasks])
        low, high = bottom + width * low, bottom + width * high
        method = "wilson"
    return Estimate(mean, max(bottom, min(low, mean)), min(top, max(high, mean)), len(scores), method)


def _wilson(tasks: Sequence[Sequence[float]]) -> tuple[float, float]:
    scores = [score for task in tasks for score in task]
    n = len(scores)
    mean = math.fsum(scores) / n
    variance = math.fsum(math.fsum(score - mean for score in task) ** 2 for task in tasks) / n**2
    z = NormalDist().inv_cdf(0.975)
    spread = mean * (1 - mean)
    # Without any variance to see, each task is one observation.
    size = spread / variance if spread > 0 and variance > 1e-12 else len(tasks)
    centre = (mean + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * math.sqrt(spread / size + z**2 / (4 * size**2))
    return centre - half, centre + half


def _bootstrap(tasks: Sequence[Sequence[float]]) -> tuple[float, float]:
    # Sorted, since tasks end in another order every time.
    sums = sorted((math.fsum(task), len(task)) for task in tasks)
    draw = random.Random(0)
    means = []
    for _ in range(_RESAMPLES):
        drawn = draw.choices(sums, k=len(sums))
        means.append(sum(total for total, _ in drawn) / sum(count for _, count in drawn))
    # Its fortieths, by linear interpolation between neighbours (Hyndman and Fan 1996, type 7).
    low, *_, high = quantiles(means, n=40, method="inclusive")
    return low, high

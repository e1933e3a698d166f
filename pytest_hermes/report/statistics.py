"""The mean score of a run and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float
    #: Scores it was made from.
    n: int


def estimate_mean(scores_by_task: Mapping[str, Sequence[float]], confidence: float = 0.95) -> Estimate | None:
    """Return the mean of all scores with an interval that knows which attempts are of the same task.

    Attempts of one task resemble each other, so the variance of the mean is the cluster-robust one: the sum over
    tasks of the squared sums of deviations, over n² (Miller, "Adding Error Bars to Evals", arXiv:2411.00640). It gives
    an effective sample size p(1-p)/variance, and that the Wilson interval (Wilson 1927; with effective sizes: Dean
    and Pagano, J. Surv. Stat. Methodol. 2015), which neither leaves 0 to 1 nor shrinks to a point when every task
    passed. One attempt a task with scores 0 and 1 gives the plain Wilson interval. Scores outside 0 to 1 get the
    normal interval. Returns None when there are no scores.
    """
    scores = [score for task in scores_by_task.values() for score in task]
    n = len(scores)
    if n == 0:
        return None
    mean = math.fsum(scores) / n
    tasks = [task for task in scores_by_task.values() if task]
    variance = math.fsum(math.fsum(score - mean for score in task) ** 2 for task in tasks) / n**2
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    if min(scores) < 0 or max(scores) > 1:
        half = z * math.sqrt(variance)
        return Estimate(mean, mean - half, mean + half, n)
    spread = mean * (1 - mean)
    # Without any variance to see, each task is one observation.
    size = spread / variance if spread > 0 and variance > 1e-12 else len(tasks)
    centre = (mean + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * math.sqrt(spread / size + z**2 / (4 * size**2))
    return Estimate(mean, max(0.0, min(centre - half, mean)), min(1.0, max(centre + half, mean)), n)

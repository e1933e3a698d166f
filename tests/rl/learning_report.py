"""What runs of the learning proof came to: the claims, the table and the curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .scored_batch import Control

#: Batches of which the success at the beginning and at the end is the mean.
#: A batch has only eight puzzles.
FIRST, LAST = 2, 8

#: What is claimed of strict success: below the one at the beginning, above the other at the end of a run.
BEFORE, AFTER = 0.10, 0.80
#: What no control may reach at any time.
CEILING = 0.20


@dataclass
class Curve:
    """How a run went. Lists have one entry a batch."""

    seed: int
    control: Control = "none"
    #: Share of rollouts with everything right, sampled at temperature 1.
    strict: list[float] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)
    #: Since the run began, its warm start included.
    seconds: list[float] = field(default_factory=list)
    #: Processor seconds of the run, of all its processes and the sandboxes.
    processor: float = 0.0
    #: Largest difference between the logprobs that came with the first batch and the trainer's own.
    first_difference: float = float("nan")

    @property
    def start(self) -> float:
        return mean(self.strict[:FIRST])

    @property
    def end(self) -> float:
        return mean(self.strict[-LAST:])

    @property
    def smooth(self) -> list[float]:
        """The mean of the last batches at each batch."""
        return [mean(self.strict[max(0, end - LAST) : end]) for end in range(1, len(self.strict) + 1)]

    @property
    def name(self) -> str:
        return f"seed {self.seed}" + ("" if self.control == "none" else f", {self.control}")


def mean(values: Sequence[float]) -> float:
    """Return the mean, NaN of nothing."""
    return sum(values) / len(values) if values else float("nan")


def problem(curve: Curve, minutes: float) -> str | None:
    """Return why a run does not do what is claimed, or None."""
    if not curve.start < BEFORE:
        return f"begins at {curve.start:.0%}"
    if curve.control != "none":
        peak = max(curve.smooth[LAST - 1 :], default=curve.end)
        return None if peak < CEILING else f"learns all the same: {peak:.0%}"
    if not curve.end > AFTER:
        return f"ends at {curve.end:.0%}"
    if curve.seconds[-1] > 60 * minutes:
        return f"takes more than {minutes:g} min"
    return None


def table(curves: Sequence[Curve], minutes: float) -> str:
    """Return a line a run: strict success, steps, times, and whether it is as claimed."""
    width = max(len(curve.name) for curve in curves)
    lines = [f"{'run':{width}}   start     end  steps  minutes  CPU minutes  verdict"]
    for curve in curves:
        found = problem(curve, minutes)
        verdict = f"NOT AS CLAIMED: {found}" if found else "learns" if curve.control == "none" else "does not learn"
        lines.append(
            f"{curve.name:{width}}  {curve.start:6.1%}  {curve.end:6.1%}  {len(curve.strict):5}  "
            f"{curve.seconds[-1] / 60:7.1f}  {curve.processor / 60:11.1f}  {verdict}"
        )
    return "\n".join(lines)


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Draw strict success over the trainer's steps into a PNG file."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for curve in curves:
        learns = curve.control == "none"
        steps = range(1, len(curve.strict) + 1)
        (line,) = axes.plot(steps, curve.smooth, "-" if learns else "--", label=curve.name)
        axes.plot(steps, curve.strict, ".", markersize=2, alpha=0.4, color=line.get_color())
    for level in (BEFORE, AFTER):
        axes.axhline(level, color="grey", linewidth=0.5, linestyle=":")
    axes.set(xlabel="step of the trainer", ylabel="strict success", ylim=(0, 1))
    axes.set_title(f"Two tool turns, token-exact (mean of {LAST} batches)", fontsize="medium")
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=100)
    plt.close(figure)

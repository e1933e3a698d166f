"""How the rollouts of one process stand; the workers of a run write it down for the process that shows it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path

from ..result import Usage


@dataclass(frozen=True)
class Progress:
    """What one process, or all of them together, have in flight and have used."""

    #: Rollouts that hold a slot.
    in_flight: int = 0
    #: What all answers used, also those of attempts that have not ended.
    spent: Usage = field(default_factory=Usage)
    #: Model calls that may be in flight, and might if no endpoint had complained.
    calls: int = 0
    calls_at_most: int = 0
    #: What attempts wait for: endpoints that fail, and images that are pulled or built.
    statuses: tuple[str, ...] = ()
    #: What all answers of the judge used.
    spent_by_judge: Usage = field(default_factory=Usage)
    #: What people should hear of at once, and what went wrong with attempts beside their records, a line each.
    notices: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    #: What is sent to endpoints otherwise than it was configured, because they refuse it, a line each.
    adaptations: tuple[str, ...] = ()

    @property
    def calls_cut_to(self) -> int | None:
        """What an overloaded endpoint has brought the calls in flight down to; None while it has not."""
        return self.calls if self.calls < self.calls_at_most else None


def total(parts: Iterable[Progress]) -> Progress:
    """Return how several processes stand together."""
    sum_ = Progress()
    for one in parts:
        sum_ = Progress(
            sum_.in_flight + one.in_flight,
            sum_.spent + one.spent,
            sum_.calls + one.calls,
            sum_.calls_at_most + one.calls_at_most,
            (*sum_.statuses, *one.statuses),
            sum_.spent_by_judge + one.spent_by_judge,
            # Some of it each process learns.
            tuple(dict.fromkeys((*sum_.notices, *one.notices))),
            tuple(dict.fromkeys((*sum_.problems, *one.problems))),
            tuple(dict.fromkeys((*sum_.adaptations, *one.adaptations))),
        )
    return sum_


def write_progress(path: Path, progress: Progress) -> None:
    """Replace the file, so that whoever reads it meanwhile finds it whole. Raises OSError."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(progress), default=str))
    os.replace(new, path)


def read_progress(path: Path) -> Progress:
    """Return what `write_progress` wrote. Raises OSError."""
    values = json.loads(path.read_text())
    for name in ("spent", "spent_by_judge"):
        cost = values[name]["cost"]
        values[name] = Usage(**{**values[name], "cost": None if cost is None else Decimal(cost)})
    for name in ("statuses", "notices", "problems", "adaptations"):
        values[name] = tuple(values[name])
    return Progress(**values)

"""The report of single tests that test scripts may leave: CTRF, https://ctrf.io/docs/specification/overview."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Names of failed tests that are kept.
_MOST = 50


@dataclass(frozen=True)
class Report:
    #: How many tests there were, by outcome: `tests`, `tests_passed`, `tests_failed`, ….
    counts: Mapping[str, float] = field(default_factory=dict)
    failed: tuple[str, ...] = ()

    @property
    def failures(self) -> int:
        """How many tests failed."""
        return max(int(self.counts.get("tests_failed", 0)), len(self.failed))


def read_report(content: bytes | None) -> Report:
    """Return what a `ctrf.json` says; nothing where there is none, or something else."""
    try:
        results = json.loads(content or b"")["results"]
        summary, tests = results["summary"], results.get("tests") or []
        counts = {
            name if name == "tests" else f"tests_{name}": float(summary[name])
            for name in ("tests", "passed", "failed", "skipped", "pending", "other")
            if isinstance(summary.get(name), int)
        }
        failed = [str(test.get("name")) for test in tests if test.get("status") == "failed"]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError, OverflowError):
        # It gives no reward: that is in another file.
        return Report()
    return Report(counts, tuple(failed[:_MOST]))

"""What the processes of one run share: a temporary folder of the one that distributes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class SharedFolder:
    """The files in the folder."""

    def __init__(self, path: Path, made: float) -> None:
        self.path = path
        #: When, by the monotonic clock.
        self.made = made
        #: The tasks, enumerated once.
        self.index = path / "tasks.pickle"
        #: What the answers cost, and those of the judge: of benchmarks and of tests with an agent together.
        self.ledger = path / "spent.jsonl"
        self.judge_ledger = path / "spent-by-judge.jsonl"

    def progress_of(self, worker: str) -> Path:
        """Return where a worker, such as `gw0`, writes its progress."""
        return self.path / f"{worker}.json"

    def progresses(self) -> Iterator[tuple[str, Path]]:
        """Yield each worker that wrote its progress, and where."""
        for path in self.path.glob("*.json"):
            yield path.stem, path

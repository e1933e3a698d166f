"""Which attempts of which tasks somebody asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Selection:
    """The attempts that one node id asks for. None: all tasks; all attempts."""

    bench: str
    task: str | None = None
    attempt: int | None = None

    def covers(self, bench: str, task: str) -> bool:
        return self.bench == bench and self.task in (None, task)

"""Looks after the results of a run, whose folder somebody may delete while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from .folder import RunFolder
from .results_file import ResultsFile

#: Seconds between two looks.
_EVERY = 2.0


class ResultsWatch:
    """Notices when the results go on elsewhere, and lets the run's folder follow them."""

    def __init__(
        self,
        results: ResultsFile,
        folder: RunFolder,
        *,
        moved: Callable[[str], object],
        lost: Callable[[str], object],
    ) -> None:
        """`moved` is told where they go on, `lost` that they can be written nowhere."""
        self._results = results
        self._folder = folder
        self._moved = moved
        self._lost = lost
        self._is_lost = False

    async def keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            self.look()

    def look(self) -> None:
        """Look once, on the loop of the rollouts or after its end."""
        before = self._folder.path
        try:
            self._results.follow()
        except OSError as error:
            if not self._is_lost:
                self._is_lost = True
                self._lost(f"{before} is gone, and the results cannot be written elsewhere: {error}")
            return
        now = self._results.path.parent
        if not _same(now, before):
            self._folder.move(now)
            self._moved(f"{before} is gone: the results go on in {now}")


def _same(one: Path, other: Path) -> bool:
    return one.absolute() == other.absolute()

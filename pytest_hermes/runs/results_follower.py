"""Reads a results file while others write to it."""

from __future__ import annotations

import json
from pathlib import Path

from ..rollout.record import AttemptRecord
from .record_lines import RecordLines
from .refuge import refuge_of
from .results_file import FILE_NAME


class ResultsFollower:
    """Gives the records of one run, each once, as they are appended, whoever appends them."""

    def __init__(self, run_dir: Path, run_id: str, offset: int = 0) -> None:
        """Passes over the first `offset` bytes of the file in `run_dir`."""
        self._path = run_dir / FILE_NAME
        self._refuge = refuge_of(run_id) / FILE_NAME
        self._marker = f'"run_id": {json.dumps(run_id, ensure_ascii=False)}'.encode()
        self._offset = offset
        self._lines = RecordLines()

    @property
    def path(self) -> Path:
        """Where the results are: in the refuge of the run as soon as its own folder is gone."""
        if not self._path.exists() and self._refuge.exists():
            # It begins with all that was in the file by then.
            self._path = self._refuge
        return self._path

    def new(self) -> list[AttemptRecord]:
        """Return the records that were written since the last call, without their conversations."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        ours = (line for line in whole.splitlines() if self._marker in line[:1000])
        return list(filter(None, map(self._lines.without_conversation, ours)))

"""Reads a results file while others write to it."""

from __future__ import annotations

import json
from pathlib import Path

from ..rollout.record import AttemptRecord
from .record_lines import RecordLines


class ResultsFollower:
    """Gives the records of one run, each once, as they are appended, whoever appends them."""

    def __init__(self, path: Path, run_id: str, offset: int = 0) -> None:
        """Passes over the first `offset` bytes of the file."""
        self._path = path
        self._marker = f'"run_id": {json.dumps(run_id, ensure_ascii=False)}'.encode()
        self._offset = offset
        self._lines = RecordLines()

    def new(self) -> list[AttemptRecord]:
        """Return the records that were written since the last call, without their conversations."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        ours = (line for line in whole.splitlines() if self._marker in line[:1000])
        return list(filter(None, map(self._lines.without_conversation, ours)))

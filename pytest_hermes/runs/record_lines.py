"""Lines of a results file as records. Whatever else stands in such a file is passed over, and counted."""

from __future__ import annotations

import json
import sys
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..rollout.record import NO_USAGE, AttemptOutcome, AttemptRecord

M = TypeVar("M", bound=BaseModel)

#: Fields that have few values in the records of a run: one text of each is enough.
_REPEATED = (
    "run_id", "benchmark", "dataset_revision", "category", "difficulty", "model", "backend", "image", "stop_reason",
)  # fmt: skip

#: Where the conversation begins, which is the last and by far the longest part of a line. No text in a line can hold
#: this, since quotation marks are escaped there.
_CONVERSATION = b', "messages": ['

#: Which fields a record was given takes more memory than they do, and nobody asks.
_NOT_TOLD: set[str] = set()


class RecordLines:
    """Reads lines."""

    def __init__(self) -> None:
        #: How many of them were not records: what a crash left, or what others wrote.
        self.foreign = 0

    def record(self, line: bytes) -> AttemptRecord | None:
        """Return the record that a line is, None for one that is empty or foreign."""
        return self._read(AttemptRecord, line)

    def without_conversation(self, line: bytes) -> AttemptRecord | None:
        """Return the same without its conversation, in a tenth of the time, and small enough to keep thousands of."""
        begin, found, _ = line.partition(_CONVERSATION)
        # Half of a line does not end in this way.
        outcome = _outcome(begin + b"}") if found and line.endswith(b"}\n") else None
        # Earlier versions wrote the conversation between the other fields.
        outcome = outcome or self._read(AttemptOutcome, line)
        return None if outcome is None else _compact(outcome)

    def _read(self, kind: type[M], line: bytes) -> M | None:
        if not line.strip():
            return None
        try:
            return kind.model_validate_json(line)
        except ValidationError:
            pass
        try:
            # What Python's own parser takes and pydantic's does not, such as a nesting of hundreds.
            return kind.model_validate(json.loads(line))
        except (ValueError, RecursionError):
            self.foreign += 1
            return None


def _outcome(text: bytes) -> AttemptOutcome | None:
    try:
        return AttemptOutcome.model_validate_json(text)
    except ValidationError:
        return None


def _compact(outcome: AttemptOutcome) -> AttemptRecord:
    values: dict[str, Any] = vars(outcome)
    for name in _REPEATED:
        if values[name] is not None:
            values[name] = sys.intern(values[name])
    for name in ("usage", "judge_usage"):
        if values[name] == NO_USAGE:
            values[name] = NO_USAGE
    record = AttemptRecord.of_outcome(outcome)
    for model in (record, record.usage, record.judge_usage, record.seconds):
        object.__setattr__(model, "__pydantic_fields_set__", _NOT_TOLD)
    return record

"""Rows of a dataset as lines of JSON: listed without what is large, and read one at a time when they are needed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InfrastructureError


class DatasetError(InfrastructureError):
    """A dataset does not hold what it should; the text names the row and the column."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="dataset")


@dataclass(frozen=True)
class RowRef:
    """Where one row lies: small, and good in any process of the machine."""

    path: Path
    #: Bytes.
    offset: int
    length: int
    #: CRC-32 of the line.
    checksum: int
    #: What messages call it: `row 3 of tasks.parquet`.
    label: str

    def read(self) -> dict[str, Any]:
        """Return all columns of the row. Raises DatasetError when it is no longer there."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                line = file.read(self.length)
        except OSError as error:
            raise DatasetError(f"{self.label} cannot be read again: {error}") from error
        if zlib.crc32(line) != self.checksum:
            # It may be a row all the same: another task's.
            raise DatasetError(f"{self.label} cannot be read again: {self.path} was changed while it was in use")
        return _parsed(line)


@dataclass(frozen=True)
class Row:
    """One row, without the columns that are only read when they are needed."""

    ref: RowRef
    values: Mapping[str, Any] = field(default_factory=dict)
    #: Names of all columns that hold something, the large ones included.
    present: frozenset[str] = frozenset()
    #: Why it is no row at all; then there is nothing else.
    problem: str | None = None


def list_rows(path: Path, source: str, large: Collection[str]) -> Iterator[Row]:
    """Yield the rows of a file of JSON lines, of which messages speak as `source`, without the columns `large`.

    At most one row is in memory whole. A line that is no JSON object is a row with a problem. Raises OSError when the
    file cannot be read.
    """
    offset = number = 0
    with path.open("rb") as lines:
        for line in lines:
            start, offset = offset, offset + len(line)
            if not line.strip():
                continue
            number += 1
            ref = RowRef(path, start, len(line), zlib.crc32(line), f"row {number} of {source}")
            try:
                values = _parsed(line)
            except ValueError as error:
                yield Row(ref, problem=f"{ref.label} is not a JSON object: {error}")
                continue
            present = frozenset(name for name, value in values.items() if value not in (None, ""))
            yield Row(ref, {name: value for name, value in values.items() if name not in large}, present)


def _parsed(line: bytes) -> dict[str, Any]:
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError(f"it is of type {type(values).__name__}")
    return values

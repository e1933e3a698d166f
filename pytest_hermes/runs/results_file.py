"""`results.jsonl`: appended to while a run goes on, read back line by line."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.append import append_whole
from ..core.redact import Redactor
from ..errors import UsageError
from ..rollout.record import AttemptRecord
from ..sandbox.privacy import keep_private
from .record_lines import RecordLines
from .refuge import has_name, moved_to, new_name

FILE_NAME = "results.jsonl"

_log = logging.getLogger(__name__)


class ResultsFile:
    """Appends records. Each is one write to a file opened for appending, so a process that is killed leaves whole
    lines, and several processes may share the file."""

    def __init__(self, run_dir: Path, redactor: Redactor, refuge: Path | None = None) -> None:
        """Make `run_dir` and open the file in it. Raises UsageError when that is not possible.

        Should `run_dir` be deleted later, the file goes on in the folder `refuge`, where there is one.
        """
        self.path = run_dir / FILE_NAME
        self._redactor = redactor
        self._refuge = refuge
        #: Held by who writes, or looks where to.
        self._writing = threading.Lock()
        for folder in (run_dir, refuge):
            if folder is not None:
                keep_private(str(folder.absolute()))
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._end_torn_line()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _end_torn_line(self) -> None:
        """A machine that lost power may have left half a line. The next record must not be glued to it, and it must not
        look whole because it happens to be cut behind a brace."""
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b" (cut off)\n")

    def append(self, record: AttemptRecord) -> None:
        """Write one record. Raises OSError when the disk does not take it whole."""
        line = _as_line(self._redactor.value(record.model_dump(mode="json")))
        with self._writing:
            self._follow()
            append_whole(self._file, line)

    def follow(self) -> None:
        """Go on in the refuge if the file has been deleted, and under its new name if it was moved. Raises OSError."""
        with self._writing:
            self._follow()

    def _follow(self) -> None:
        if self._refuge is None or self._file < 0 or has_name(self._file, self.path):
            return
        if (moved := new_name(self._file)) is not None:
            self.path = moved
            return
        path = self._refuge / FILE_NAME
        new = moved_to(path, self._file)
        os.close(self._file)
        self._file, self.path = new, path

    def keep_files(self, record: AttemptRecord, files: Mapping[str, bytes]) -> None:
        """Write what a verifier left to a folder of the attempt's own, beside the results.

        Names are paths in that folder. What cannot be written is reported by a line in the log: the record counts, and
        it has the end of the output.
        """
        folder = self.path.parent / files_of(record)
        try:
            self.follow()
            folder = self.path.parent / files_of(record)
            for name, content in files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                text = self._redactor.text(content.decode("utf-8", "surrogateescape"))
                path.write_bytes(text.encode("utf-8", "surrogateescape"))
        except OSError as error:
            _log.warning("cannot write the verifier's files to %s: %s", folder, error.strerror)

    def sync(self) -> None:
        """Wait until what was appended is on the disk."""
        with self._writing:
            file = os.dup(self._file)
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def cannot_write(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write results to {path}: {error.strerror}; name another folder with --hermes-run-dir")


def files_of(record: AttemptRecord) -> Path:
    """Return the folder of the files that an attempt's verifier left, relative to the run's folder."""
    return Path("verifier", record.benchmark, f"{record.task.replace('/', '__')}@{record.attempt}")


def _as_line(values: Any) -> bytes:
    try:
        text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    except ValueError:  # JSON has no NaN, but a server's answer may
        text = json.dumps(json.loads(json.dumps(values), parse_constant=lambda _: None), ensure_ascii=False)
    # Lone surrogates of undecodable output must not make a record unwritable.
    return text.encode("utf-8", "replace") + b"\n"


def read_results(path: Path) -> Iterator[AttemptRecord]:
    """Yield the records of a results file, in the order they were written.

    Lines that are not records, such as the half of one that a crash left, are passed over. Raises OSError when the file
    cannot be read.
    """
    lines = RecordLines()
    with path.open("rb") as file:
        yield from filter(None, map(lines.record, file))

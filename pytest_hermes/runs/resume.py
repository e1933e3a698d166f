"""Going on with a run that ended early."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from ..core.memory import without_garbage_collection
from ..errors import UsageError
from ..rollout.boundary import INTERRUPTED
from ..rollout.record import AttemptRecord
from .manifest import MANIFEST, Fingerprint, Manifest
from .record_lines import RecordLines
from .results_file import FILE_NAME

#: Seconds that processes of a run that was killed may take to end.
PATIENCE = 30.0

#: Bytes of a results file that are read at once: its lines are long.
_BUFFER = 1 << 20

#: Benchmark, task, number of the attempt, model.
AttemptKey = tuple[str, str, int, str]


def key_of(record: AttemptRecord) -> AttemptKey:
    """Return what tells the attempts of one run apart."""
    return record.benchmark, record.task, record.attempt, record.model


def is_unfinished(record: AttemptRecord) -> bool:
    """Return whether an attempt was in flight when its run ended, so that it runs again when the run is resumed."""
    return record.error is not None and record.error.kind == INTERRUPTED


@dataclass(frozen=True)
class EarlierRun:
    """A run to go on with."""

    run_id: str
    #: Attempts that need not run again, without their conversations; of several records of one the last counts.
    finished: Mapping[AttemptKey, AttemptRecord] = field(default_factory=dict)
    #: Bytes of its results so far.
    size: int = 0
    #: Lines of its results that are not records.
    foreign_lines: int = 0


def earlier_run(run_dir: Path, fingerprint: Fingerprint, *, force: bool, retry_errors: bool, name: str) -> EarlierRun:
    """Return the run in `run_dir`, which messages call `name`.

    Raises UsageError when there is none, or, unless `force` is set, when it has another fingerprint.
    """
    path = run_dir / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"there is no run to resume in {name}: {MANIFEST}: {error.strerror}") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot resume {name}: its {MANIFEST} is damaged; delete it to discard the run") from error
    differences = list(manifest.differences(fingerprint))
    had = _benchmarks(manifest.fingerprint)
    differences += [
        f"it ran {', '.join(had)}, not {bench}" for bench in _benchmarks(fingerprint.values) if bench not in had
    ]
    if differences and not force:
        raise UsageError(
            f"cannot resume {name}, it is a different run: {'; '.join(differences)}; correct this, start a new run, "
            "or mix the two with --hermes-resume-force"
        )
    results = run_dir / FILE_NAME
    finished: dict[AttemptKey, AttemptRecord] = {}
    lines = RecordLines()
    if results.exists():
        with results.open("rb", buffering=_BUFFER) as file, without_garbage_collection():
            for record in filter(None, map(lines.without_conversation, file)):
                if record.run_id == manifest.run_id and not is_unfinished(record):
                    finished[key_of(record)] = record
    if retry_errors:
        finished = {key: record for key, record in finished.items() if record.status != "error"}
    return EarlierRun(manifest.run_id, finished, results.stat().st_size if results.exists() else 0, lines.foreign)


def _benchmarks(names: Iterable[str]) -> list[str]:
    return [name.removesuffix(" model") for name in names if name.endswith(" model")]


class Busy(UsageError):
    """Another process runs in the same folder."""


class RunLock:
    """Tells other processes that a run's folder is being written to, for as long as this process lives.

    The process that runs or distributes locks the folder, and those that it distributes to share a lock on the results.
    """

    def __init__(self) -> None:
        self._files: list[int] = []

    def take(self, run_dir: Path, *, patience: float | None = None) -> None:
        """Become the only one that runs there. Raises Busy when another process still does, OSError."""
        run_dir.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + (PATIENCE if patience is None else patience)
        self._lock(run_dir, fcntl.LOCK_EX, run_dir, end)
        if (run_dir / FILE_NAME).exists():
            # Workers outlive a distributing process that was killed, for as long as they take to see that.
            fcntl.flock(self._lock(run_dir / FILE_NAME, fcntl.LOCK_EX, run_dir, end), fcntl.LOCK_UN)

    def join(self, run_dir: Path) -> None:
        """Become one of those that the process which runs distributes to."""
        self._lock(run_dir / FILE_NAME, fcntl.LOCK_SH, run_dir, time.monotonic() + PATIENCE)

    def release(self) -> None:
        for file in self._files:
            os.close(file)
        self._files.clear()

    def _lock(self, path: Path, kind: int, run_dir: Path, end: float) -> int:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_CREAT if path != run_dir else 0), 0o644)
        self._files.append(file)
        while True:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                return file
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Busy(f"another process still runs in {run_dir}; wait until it has ended") from None
                time.sleep(0.05)
            except OSError:  # not every file system has locks
                return file

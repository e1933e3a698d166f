"""The folder of a run: its id, its lock, its manifest, and what an earlier process left in it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..config.options import Options
from ..errors import UsageError
from ..rollout.record import AttemptRecord
from .manifest import MANIFEST, Fingerprint, Manifest
from .results_file import cannot_write
from .resume import AttemptKey, Busy, RunLock, earlier_run

#: Seconds for the workers of a run that was killed to end, before a new run in the same folder is refused.
_PATIENCE = 3.0


@dataclass
class RunFolder:
    """Where one run writes. Nothing is made before `begin`."""

    run_id: str
    path: Path
    #: What the run is; None: nobody can resume it.
    fingerprint: Fingerprint | None = None
    #: Attempts of an earlier process of this run, which are only reported.
    finished: Mapping[AttemptKey, AttemptRecord] = field(default_factory=dict)
    #: Bytes of the results by then.
    results_before: int = 0
    #: Lines of the results by then that were not records.
    foreign_lines: int = 0
    resumed: bool = False
    _lock: RunLock = field(default_factory=RunLock)

    @classmethod
    def resume(cls, options: Options, fingerprint: Fingerprint, cwd: Path) -> RunFolder:
        """Return the folder of the run that `options.resume` names, locked. Raises UsageError when it cannot go on."""
        assert options.resume is not None
        path = cwd / options.resume
        if options.run_dir is not None and cwd / options.run_dir != path:
            raise UsageError("a resumed run continues in its own folder: leave out --hermes-run-dir")
        if options.validate:
            raise UsageError("a validation cannot be resumed: leave out --hermes-resume")
        lock = RunLock()
        try:
            if (path / MANIFEST).exists():
                lock.take(path)
            earlier = earlier_run(
                path, fingerprint, force=options.resume_force, retry_errors=options.retry_errors, name=options.resume
            )
        except BaseException:
            lock.release()
            raise
        return cls(
            earlier.run_id,
            path,
            fingerprint,
            earlier.finished,
            earlier.size,
            earlier.foreign_lines,
            resumed=True,
            _lock=lock,
        )

    def begin(self) -> None:
        """Write down what the run is, for who resumes it.

        Raises UsageError when nothing can be written there, or while another run does.
        """
        if self.fingerprint is None:
            return
        try:
            if not self.resumed:
                self._lock.take(self.path, patience=_PATIENCE)
            Manifest.of(self.run_id, self.fingerprint).write(self.path)
        except Busy as busy:
            raise Busy(f"{busy}, or name another folder with --hermes-run-dir") from None
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def move(self, path: Path) -> None:
        """Go on in another folder, where the results are now, as far as that can be written to."""
        self.path = path
        if self.fingerprint is not None:
            with suppress(Busy, OSError):
                self._lock.take(path, patience=0)
            with suppress(OSError):
                Manifest.of(self.run_id, self.fingerprint).write(path)

    def release(self) -> None:
        """Let another process run here."""
        self._lock.release()


class SharedRunFolder(RunFolder):
    """The folder of a run that another process has begun."""

    def begin(self) -> None:
        self._lock.join(self.path)

    def move(self, path: Path) -> None:
        self.path = path
        with suppress(Busy, OSError):
            self._lock.join(path)

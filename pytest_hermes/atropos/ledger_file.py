"""Which groups were sent to a trainer, on disk, so that none is sent twice by a run that goes on after a crash.

A group is the n-th sample of a task. It is noted before it is sent, and what is noted is never sent: one that
was on its way when the process was killed is given up, since the run-api takes a group twice and cannot be asked which
ones it has. It keeps the environment of a process that was killed as well, so how it knew that is noted too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..core.append import append_whole
from ..errors import UsageError

_FORMAT = "pytest-hermes sent groups 1"

#: `sending` is noted before a group goes, `taken` once the run-api said so, `dropped` of one that is not sent at all.
State = Literal["sending", "taken", "dropped"]


@dataclass(frozen=True)
class Sample:
    """One group of a task: `number` counts from 0 how often the task was sampled."""

    task: str
    number: int
    #: The same after a restart.
    group: str


@dataclass(frozen=True)
class Registration:
    """An environment as a run-api knows it."""

    url: str
    env_id: int
    #: The name that was wished for, `_`, and how many had it before.
    name: str
    #: Of the trainer, when it was registered.
    step: int

    def replaces(self, earlier: Registration) -> bool:
        """Return whether `earlier` is this environment's at the same run-api, which still has it if it was killed.

        A run-api cannot be asked who it is. But its numbers only grow, and those of one that was started anew begin
        from 0: another environment may have the number by then.
        """
        name, _, count = self.name.rpartition("_")
        same, _, before = earlier.name.rpartition("_")
        grows = self.env_id > earlier.env_id and self.step >= earlier.step
        return grows and (self.url, name) == (earlier.url, same) and int(count) > int(before)


class LedgerFile:
    """The notes of one training run, which several processes may write one after the other."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises UsageError for one that is no such file, in use, or cannot be written."""
        self.path = path
        self._noted: dict[tuple[str, int], State] = {}
        self._sampled: Counter[str] = Counter()
        self._registration: Registration | None = None
        self._file = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._run = self._read()
        except BlockingIOError:
            self.close()
            raise UsageError(f"env.sent_groups: another run is writing to {path}; give each run its own file") from None
        except OSError as error:
            self.close()
            raise UsageError(f"env.sent_groups: cannot write {path}: {error.strerror}") from error
        except UsageError:
            self.close()
            raise

    def _read(self) -> str:
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        if not content:
            run = uuid.uuid4().hex[:12]
            self._write({"format": _FORMAT, "run": run})
            return run
        if not content.endswith(b"\n"):
            # A machine that lost power may have left half a line.
            os.write(self._file, b"\n")
        first, *lines = list(_objects(content)) or [{}]
        if first.get("format") != _FORMAT:
            raise UsageError(f"env.sent_groups: {self.path} is not a file of sent groups; name another file")
        for line in lines:
            if isinstance(line.get("task"), str) and isinstance(line.get("number"), int):
                self._noted[line["task"], line["number"]] = line.get("state", "sending")
            elif isinstance(line.get("registered"), dict):
                self._registration = Registration(**line["registered"])
        return str(first.get("run"))

    def __len__(self) -> int:
        """How many groups were noted, by this process and those before."""
        return len(self._noted)

    def __contains__(self, sample: Sample) -> bool:
        return (sample.task, sample.number) in self._noted

    @property
    def in_doubt(self) -> int:
        """How many groups were on their way when a process ended, or broke off."""
        return sum(state == "sending" for state in self._noted.values())

    def register(self, now: Registration) -> Registration | None:
        """Note a registration, and return the one before if it is to end. Raises OSError when the disk is full."""
        self._write({"registered": vars(now)})
        earlier, self._registration = self._registration, now
        return earlier if earlier is not None and now.replaces(earlier) else None

    def sample(self, task: str) -> Sample | None:
        """Return the next sample of a task; None when its group was noted before this process began."""
        number = self._sampled[task]
        self._sampled[task] += 1
        name = hashlib.sha256(f"{self._run}\0{task}\0{number}".encode()).hexdigest()
        sample = Sample(task, number, name[:12])
        return None if sample in self else sample

    def note(self, sample: Sample, state: State) -> None:
        """Write down what becomes of a sample's group. Raises OSError when the disk does not take it."""
        # What is sent must be known to the next process, also when this machine loses its power.
        self._write({**vars(sample), "state": state}, sync=state == "sending")
        self._noted[sample.task, sample.number] = state

    def _write(self, line: dict[str, Any], *, sync: bool = False) -> None:
        append_whole(self._file, json.dumps(line).encode() + b"\n", sync=sync)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _objects(content: bytes) -> Iterator[dict[str, Any]]:
    for line in content.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value

"""In which modes the tests of a task pass on its own solution, as validations found out.

A file of them is JSON: by the digest of a task, by backend, by mode, whether the solution passes. One lies in the cache
for each benchmark, written by validations on this machine; a benchmark may ship another beside its module.
"""

from __future__ import annotations

import contextlib
import fcntl
import inspect
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, get_args

from ..config.cache import cache_folder
from ..core.one_line import shown
from ..errors import HermesError, UsageError
from ..verdict import VerifierMode

if TYPE_CHECKING:
    from ..benchmark import Benchmark
    from ..rollout.plan import PlannedTask
    from ..rollout.record import AttemptRecord
    from .plan import LoadedBenchmark

#: The name of the file that a benchmark ships.
SHIPPED = "verifier-modes.json"

MODES: tuple[VerifierMode, ...] = get_args(VerifierMode)

#: Digest -> backend -> mode -> whether the task's own solution passes.
_Known: TypeAlias = dict[str, dict[str, dict[str, bool]]]


def mode_of(loaded: LoadedBenchmark, planned: PlannedTask) -> VerifierMode:
    """Return the mode in which a task is verified: what the user chose, what the task asks for, or `same`."""
    return loaded.config.env.verifier or loaded.benchmark.verifier_mode(planned.item) or "same"


@dataclass(frozen=True)
class Found:
    """What is known about the tasks of a benchmark in the modes that they would have."""

    #: By task, why it cannot be measured: its own solution does not pass.
    unsolvable: Mapping[str, str] = field(default_factory=dict)
    #: Tasks that are verified in `same` alone: their own solutions do not survive `both`.
    exempt: frozenset[str] = frozenset()


def known_modes(loaded: LoadedBenchmark) -> Found:
    """Return what validations found out about a benchmark. Raises UsageError when the file that it ships is damaged."""
    if "verifier" not in loaded.benchmark.config_fields:
        return Found()
    known = _merged(_shipped(loaded.benchmark), _read(_kept(loaded.benchmark.name)))
    if not known:
        return Found()
    backend = loaded.config.env.terminal_backend
    reasons: dict[str, str] = {}
    exempt = set()
    for planned in loaded.tasks:
        mode = mode_of(loaded, planned)
        passes = known.get(_digest(planned), {}).get(backend, {})
        first = "same" if mode == "both" else mode
        if mode == "both" and passes.get("both") is False and passes.get(first) is not False:
            exempt.add(planned.task.id)
        if passes.get(first) is False:
            reasons[planned.task.id] = (
                f"its own solution does not pass with --hermes-verifier={first} on {backend}, as a validation found"
            )
    return Found(reasons, frozenset(exempt))


def keep(loaded: LoadedBenchmark, records: Iterable[AttemptRecord]) -> Path | None:
    """Write down what a validation found out, for later runs; return the file, None when there is nothing to write.

    `records` are those of the oracle in one mode. Attempts that came to no verdict say nothing; a solution that the
    second half of `both` refuses does not pass in it. Raises UsageError when the file cannot be written.
    """
    if "verifier" not in loaded.benchmark.config_fields:
        return None
    by_task = defaultdict(set)
    for record in records:
        disagrees = record.verifier is not None and record.verifier.disagreement is not None
        by_task[record.task].add("failed" if disagrees else record.status)
    found: _Known = {}
    backend = loaded.config.env.terminal_backend
    for planned in loaded.tasks:
        statuses = by_task.get(planned.task.id, set()) & {"passed", "failed"}
        # A task that disagrees with itself is not one whose solution cannot pass.
        if statuses and (digest := _digest(planned)):
            found[digest] = {backend: {mode_of(loaded, planned): "passed" in statuses}}
    if not found:
        return None
    path = _kept(loaded.benchmark.name)
    try:
        with open(f"{path}.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            beside = path.with_suffix(".new")
            beside.write_text(json.dumps(_merged(_read(path), found), indent=1, sort_keys=True), encoding="utf-8")
            os.replace(beside, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return path


def _digest(planned: PlannedTask) -> str:
    # What keeps a task from being read is told by its attempt.
    with contextlib.suppress(HermesError, OSError):
        return planned.benchmark.verification_digest(planned.item) or ""
    return ""


def _kept(name: str) -> Path:
    return cache_folder("verifier-modes") / f"{name}.json"


def _shipped(benchmark: Benchmark) -> _Known:
    path = Path(inspect.getfile(type(benchmark))).with_name(SHIPPED)
    if not path.exists():
        return {}
    try:
        return _checked(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error


def _read(path: Path) -> _Known:
    """Return what earlier validations found; nothing of a file that is missing or damaged: it is a cache."""
    try:
        return _checked(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _checked(values: object) -> _Known:
    if not isinstance(values, dict):
        raise ValueError(f"it must hold an object, not {shown(values)}")
    for digest, backends in values.items():
        for modes in backends.values() if isinstance(backends, dict) else [None]:
            if not isinstance(modes, dict) or not all(
                mode in MODES and isinstance(passes, bool) for mode, passes in modes.items()
            ):
                raise ValueError(f"{shown(digest)} must have true or false by mode ({', '.join(MODES)}) by backend")
    return values


def _merged(known: Mapping[str, Mapping[str, Mapping[str, bool]]], newer: _Known) -> _Known:
    merged: _Known = {digest: {name: dict(modes) for name, modes in known[digest].items()} for digest in known}
    for digest, backends in newer.items():
        for backend, modes in backends.items():
            merged.setdefault(digest, {}).setdefault(backend, {}).update(modes)
    return merged

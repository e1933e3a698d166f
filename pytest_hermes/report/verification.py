"""What a summary says of verdicts that a reader should look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .numbers import counted

if TYPE_CHECKING:
    from ..rollout.record import AttemptRecord

#: Attempts that are named on a line.
_NAMED = 3


def verification_rows(records: Sequence[AttemptRecord]) -> Iterator[tuple[str, str]]:
    """Yield label and text of each line: rewards of 0 for tests kept from a verdict, and modes that disagree."""
    verified = [(record, record.verifier) for record in records if record.verifier is not None]
    tampered = [f"{_name(record)}: {info.tampered}" for record, info in verified if info.tampered]
    if tampered:
        reward = "reward" if len(tampered) == 1 else "rewards"
        yield "tampered", f"{len(tampered)} {reward} of 0, because of what the agent left: {_some(tampered)}"
    disagreeing = [f"{_name(record)} ({info.disagreement})" for record, info in verified if info.disagreement]
    if disagreeing:
        compared = sum(info.mode == "both" and record.status == "passed" for record, info in verified)
        yield "disagree", f"{len(disagreeing)} of {counted(compared, 'passed attempt')}: {_some(disagreeing)}"
    changed = [
        f"{_name(record)} ({info.changed_system_files[0]}{', …' if len(info.changed_system_files) > 1 else ''})"
        for record, info in verified
        if info.changed_system_files and record.status == "passed" and info.mode != "fresh"
    ]
    if changed:
        attempts = counted(len(changed), "passed attempt")
        yield "system", f"{attempts} changed programs or start-up files of the image: {_some(changed)}"


def _name(record: AttemptRecord) -> str:
    return f"{record.task}@{record.attempt}"


def _some(texts: Sequence[str]) -> str:
    more = [f"and {len(texts) - _NAMED} more"] if len(texts) > _NAMED else []
    return "; ".join([*texts[:_NAMED], *more])

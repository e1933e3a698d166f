"""What the processes of one run share: a temporary folder of xdist's controller."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..sandbox.folder import OwnedFolder

#: What xdist's workers are told: the folder's path, and when it was made.
_PATH, _MADE = "hermes_shared_folder", "hermes_shared_since"


class SharedFolder:
    """The places in the folder."""

    def __init__(self, path: Path, made: float) -> None:
        self._path = path
        #: When, by the monotonic clock.
        self.made = made
        #: The tasks, enumerated once.
        self.index = path / "tasks.pickle"
        #: What answers cost: of benchmarks, and of tests of the user's own.
        self.ledger = path / "spent.jsonl"
        self.own_ledger = path / "spent-by-tests.jsonl"
        #: What the judge's answers cost, likewise.
        self.judge_ledger = path / "spent-by-judge.jsonl"
        self.own_judge_ledger = path / "spent-by-judge-of-tests.jsonl"

    def standing(self, worker: str) -> Path:
        """Return where a worker, such as `gw0`, writes how its rollouts stand."""
        return self._path / f"{worker}.json"

    def standings(self) -> Iterator[tuple[str, Path]]:
        """Yield each worker that wrote how its rollouts stand, and where."""
        for path in self._path.glob("*.json"):
            yield path.stem, path

    def tell(self, workerinput: dict[str, Any]) -> None:
        workerinput.update({_PATH: str(self._path), _MADE: self.made})


def share_folder(config: pytest.Config) -> SharedFolder:
    """Return the folder of this session, which is made at first use and removed when pytest is done.

    Should this process not get to that, the next one that needs such a folder removes it.
    """
    if _SHARED not in config.stash:
        folder = OwnedFolder()
        folder.make()
        config.add_cleanup(folder.remove)
        config.stash[_SHARED] = SharedFolder(Path(folder.path), time.monotonic())
    return config.stash[_SHARED]


_SHARED: pytest.StashKey[SharedFolder] = pytest.StashKey()


def shared_folder(config: pytest.Config) -> SharedFolder | None:
    """Return the folder that its controller shares with this worker; None where nothing is shared."""
    workerinput = getattr(config, "workerinput", {})
    return SharedFolder(Path(workerinput[_PATH]), workerinput[_MADE]) if _PATH in workerinput else None

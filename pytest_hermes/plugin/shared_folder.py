"""The temporary folder of xdist's controller, and how its workers are told of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ..runs.shared_folder import SharedFolder
from ..sandbox.folder import OwnedFolder
from .options import read_options

#: What xdist's workers are told: the folder's path, and when it was made.
_PATH, _MADE = "hermes_shared_folder", "hermes_shared_since"


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


def tell_of_folder(config: pytest.Config, workerinput: dict[str, Any]) -> None:
    """Let a worker know of the folder of this session."""
    folder = share_folder(config)
    workerinput.update({_PATH: str(folder.path), _MADE: folder.made})


def budget_folder(config: pytest.Config) -> SharedFolder | None:
    """Return the folder in which all runs of a session note what they spend; None where nothing limits that."""
    if (shared := shared_folder(config)) is not None:
        return shared
    alone = not hasattr(config, "workerinput") and read_options(config).has_budget
    return share_folder(config) if alone else None


def shared_folder(config: pytest.Config) -> SharedFolder | None:
    """Return the folder that its controller shares with this worker; None where nothing is shared."""
    workerinput = getattr(config, "workerinput", {})
    return SharedFolder(Path(workerinput[_PATH]), workerinput[_MADE]) if _PATH in workerinput else None

"""Where things are kept that can be made again: converted datasets, unpacked build contexts."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UsageError

VARIABLE = "PYTEST_HERMES_CACHE_DIR"


def cache_folder(name: str) -> Path:
    """Return the folder for things of one kind, made if it is missing.

    It lies in PYTEST_HERMES_CACHE_DIR, else in `pytest-hermes` below XDG_CACHE_HOME or `~/.cache`. Raises UsageError
    when it cannot be made.
    """
    given = os.environ.get(VARIABLE)
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "pytest-hermes")
    folder = base.absolute() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; name another folder with {VARIABLE}") from error
    return folder

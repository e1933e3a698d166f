"""Where the results of a run go on when its folder is deleted, as by `git clean`, while it runs.

The file that was deleted is whole as long as a process has it open, and its content is the beginning of the new one.
Each process of a run finds out for itself, and adds what it wrote before it knew.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CHUNK = 1 << 20


def refuge_of(run_id: str) -> Path:
    """Return the folder in which a run goes on, the same for all of its processes. It is not made yet.

    It lies below XDG_STATE_HOME or `~/.local/state`, or the folder for temporary files where nothing can be made there.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    made = next(folder for folder in (state, *state.absolute().parents) if folder.exists())
    if made.is_dir() and os.access(made, os.W_OK):
        return state / "pytest-hermes" / "runs" / run_id
    return Path(tempfile.gettempdir(), f"pytest-hermes-runs-{os.getuid()}", run_id)


def has_name(file: int, path: Path) -> bool:
    """Return whether an open file is what `path` names."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except OSError:
        return False


def new_name(file: int) -> Path | None:
    """Return what an open file is called now, None for one that is deleted or where that cannot be told."""
    with suppress(OSError):
        path = Path(os.readlink(f"/proc/self/fd/{file}"))
        if has_name(file, path):
            return path
    return None


def moved_to(path: Path, file: int) -> int:
    """Return a descriptor of `path`, opened for appending, with all lines of an open file.

    Those that are there already, by way of another process, are not written again. Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(new, fcntl.LOCK_EX)
        known = {hash(line) for line in _lines(new)}
        for line in _lines(file):
            if hash(line) not in known:
                _write(new, line)
        os.fsync(new)
        with suppress(OSError):
            fcntl.flock(new, fcntl.LOCK_UN)
    except BaseException:
        os.close(new)
        raise
    return new


def _lines(file: int) -> Iterator[bytes]:
    """Yield the lines of an open file from its beginning, wherever others read or write in it."""
    rest, offset = b"", 0
    while chunk := os.pread(file, _CHUNK, offset):
        offset += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in whole)
    if rest:
        yield rest


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]

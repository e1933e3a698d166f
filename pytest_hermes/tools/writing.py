"""Writes files inside the sandbox."""

from __future__ import annotations

from .paths import run_script
from .place import Place


async def write_whole(place: Place, path: str, data: bytes) -> bool:
    """Make `data` the content of a file, with its parent folders if need be; return whether the file is new.

    Raises ToolProblem.
    """
    return (await run_script(place, "write", path, len(data), stdin=data)).strip() == b"1"

"""Commands that move files in and out of a sandbox as tar streams, for any backend that has a shell.

They need `sh`, `mkdir` and `tar` inside, as busybox has them.
"""

from __future__ import annotations

import re

from ..errors import InfrastructureError
from .protocol import ExecResult
from .scripts import shell_script

#: Exit code of pack.sh.
_NO_SUCH_PATH = 44

_CHANGED = re.compile(rb"changed as we read it|removed before we read it|shrank by \d+ bytes")


def unpack_command(path: str, *, owners: bool = False) -> list[str]:
    """Return the command that unpacks its standard input into the folder `path`.

    The files belong to whoever runs it, or, when root does and `owners` is set, to those whom the archive names.
    """
    return ["sh", "-c", shell_script("unpack"), "sh", path, "" if owners else "-o"]


def pack_command(path: str) -> list[str]:
    """Return the command that writes `path` to its standard output; member names begin with its base name."""
    return ["sh", "-c", shell_script("pack"), "sh", path]


def read_unpack_result(result: ExecResult, path: str) -> None:
    """Raise what `unpack_command` met: OSError, or InfrastructureError when there is no tar."""
    if result.exit_code:
        _fail(result, f"files cannot be written to {path!r} in the sandbox")


def read_pack_result(result: ExecResult, path: str) -> None:
    """Raise what `pack_command` met: FileNotFoundError, OSError, or InfrastructureError when there is no tar."""
    if result.exit_code == _NO_SUCH_PATH:
        raise FileNotFoundError(f"there is no {path!r} in the sandbox")
    # GNU tar's exit code 1: a file grew, shrank or went while it was read, as logs do. What was read is there.
    if result.exit_code == 1 and _CHANGED.search(result.stderr):
        return
    if result.exit_code:
        _fail(result, f"{path!r} cannot be read from the sandbox")


def _fail(result: ExecResult, what: str) -> None:
    said = result.stderr.decode(errors="replace").strip().splitlines()
    why = said[0] if said else f"exit code {result.exit_code}"
    if result.exit_code in (126, 127):
        raise InfrastructureError(f"{what}: {why}", kind="sandbox")
    raise OSError(f"{what}: {why}")

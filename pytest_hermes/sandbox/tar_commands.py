"""Commands that move files in and out of a sandbox as tar streams, for any backend that has a shell.

They need `sh`, `mkdir` and `tar` inside, as busybox has them.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from ..errors import SandboxBroken
from .protocol import ExecResult, Sandbox
from .scripts import shell_script

#: Exit code of pack.sh.
_NO_SUCH_PATH = 44

_CHANGED = re.compile(rb"changed as we read it|removed before we read it|shrank by \d+ bytes")


class NoTar(SandboxBroken):
    """There is no tar inside, or no shell: an agent has removed it, unless the image never had it."""


async def unpack(sandbox: Sandbox, tar: BinaryIO, path: str, *, owners: bool = False, user: str = "") -> None:
    """Unpack a tar stream into the folder `path`, which is made if it is missing, as `user`.

    The files belong to whoever that is, or, when it is root and `owners` is set, to those whom the archive names.
    Raises OSError when they cannot be written, and NoTar.
    """
    command = ["sh", "-c", shell_script("unpack"), "sh", path, "" if owners else "-o"]
    result = await sandbox.exec(command, stdin=tar, user=user)
    if result.exit_code:
        _fail(result, f"files cannot be written to {path!r} in the sandbox")


async def pack(sandbox: Sandbox, path: str, tar: BinaryIO, *, user: str = "") -> None:
    """Write a tar stream of `path` to `tar`, as `user`; member names begin with its base name.

    Raises FileNotFoundError when there is no such path, OSError when not all of it can be read, and NoTar.
    """
    result = await sandbox.exec(["sh", "-c", shell_script("pack"), "sh", path], stdout_to=tar, user=user)
    check_packed(result, path)


def check_packed(result: ExecResult, path: str) -> None:
    """Raise what `pack` does for the result of its command."""
    if result.exit_code == _NO_SUCH_PATH:
        raise FileNotFoundError(f"there is no {path!r} in the sandbox")
    # GNU tar's exit code 1: a file grew, shrank or went while it was read, as logs do. What was read is there.
    if result.exit_code == 1 and _CHANGED.search(result.stderr):
        return
    if result.exit_code:
        _fail(result, f"{path!r} cannot be read from the sandbox")


def _fail(result: ExecResult, what: str) -> None:
    lines = result.stderr.decode(errors="replace").strip().splitlines()
    why = lines[0] if lines else f"exit code {result.exit_code}"
    if result.exit_code in (126, 127):
        raise NoTar(f"{what}: {why}")
    raise OSError(f"{what}: {why}")

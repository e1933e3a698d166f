"""What all file tools share: paths as a model writes them, and scripts that run inside the sandbox.

Only tools that a bare container has are used (POSIX ones, as busybox has them): no Python in there.
"""

from __future__ import annotations

import re

from ..sandbox.scripts import shell_script
from .session import SandboxSession
from .tool import ToolProblem

#: Seconds a file tool may take.
TIMEOUT = 60.0

#: Exit codes of `refuse` and `refuse_call` in begin.sh.
_REFUSED = 90
_CALL_REFUSED = 91


def in_sandbox(path: str, home: str) -> str:
    """Return `path` so that no tool takes it for an option, with `~` as `home`."""
    if path == "~" or path.startswith("~/"):
        path = home + path[1:]
    if not path.startswith(("/", "./")) and path != ".":
        path = f"./{path}"
    return re.sub("/{2,}", "/", path)


async def run_script(
    session: SandboxSession, name: str, path: str, *arguments: str | int, stdin: bytes = b"", max_output: int = 1 << 16
) -> bytes:
    """Run the script `name` on `path`, its `$1`, in the current directory of the session's shell; return what it wrote.

    Raises ToolProblem when it refuses, fails or takes too long.
    """
    shell = await session.shell()
    target = in_sandbox(path, session.sandbox.home)
    result = await shell.script(
        "\n".join(shell_script(part, __package__) for part in ("begin", name)),
        target,
        *(str(argument) for argument in arguments),
        stdin=stdin,
        timeout=TIMEOUT,
        max_output=max_output,
    )
    if result.timed_out:
        raise ToolProblem(f"{_named(target, path)}: the operation did not finish within {TIMEOUT:g} s")
    if result.exit_code:
        refusal = result.stderr.rpartition(b"\0")[2].decode("utf-8", "replace").strip()
        if result.exit_code == _CALL_REFUSED:
            raise ToolProblem(refusal)
        if result.exit_code != _REFUSED:
            refusal = f"exit code {result.exit_code}"
        raise ToolProblem(f"{_named(target, path)}: {refusal}")
    return result.stdout


def _named(target: str, path: str) -> str:
    """Return what messages call a path: what a model has not written down itself has a name."""
    return "the current directory" if target in (".", "./") else repr(path)

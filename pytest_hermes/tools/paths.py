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

#: Exit code of `refuse` in begin.sh.
_REFUSED = 90


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
        raise ToolProblem(f"{path!r}: not done within {TIMEOUT:g} s")
    if result.exit_code:
        problem = (result.stdout + result.stderr).decode("utf-8", "replace").strip()
        if result.exit_code != _REFUSED:
            problem = f"exit code {result.exit_code}{': ' if problem else ''}{problem[-1000:]}"
        raise ToolProblem(f"{path!r}: {problem}")
    return result.stdout

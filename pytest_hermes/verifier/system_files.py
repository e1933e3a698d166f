"""Which of an image's programs and start-up files an agent changed: what tests in its sandbox have to rely on."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import SandboxBroken
from ..tools.session import SandboxSession

#: Paths that are kept; the rest is counted.
_MOST = 50

#: Programs that the tests of nearly every task run, and files that shells, interpreters, the loader and test runners
#: read by themselves when they start. Among thousands of changed files, these come first.
_FIRST = re.compile(
    r"(/usr(/local)?)?/s?bin/(ba|da|z)?sh|.*/s?bin/(env|cat|curl|wget|tar|uvx?|pytest|python[\d.]*|pip[\d.]*|node|perl)"
    r"|/etc/(ld\.so\.(preload|conf|cache)|profile|bash\.bashrc|environment|hosts|resolv\.conf|pip\.conf)"
    r"|.*/(site|user)customize\.py|.*/(site|dist)-packages/[^/]+\.pth"
    r"|/(root|home/[^/]+)/(\.bashrc|\.bash_profile|\.profile|\.curlrc|\.wgetrc|\.pythonrc|\.config/pip/pip\.conf)"
    r"|/(pytest\.ini|conftest\.py|tox\.ini|setup\.cfg|pyproject\.toml)"
)
#: Folders of programs and libraries.
_SYSTEM = re.compile(r"(/usr(/local)?)?/(s?bin|lib(exec|32|64|x32)?)/.*")


async def changed_system_files(session: SandboxSession) -> tuple[str, ...]:
    """Return the system files of a session's sandbox that differ from its image's, the most telling ones first.

    At most 50; a last entry says how many more there are. Empty where the backend cannot tell.
    """
    try:
        sandbox = await session.start()
        return telling(await sandbox.changed_files() or ())
    except SandboxBroken:
        return ()


def telling(paths: Iterable[str]) -> tuple[str, ...]:
    """Return those of `paths` that are system files, sorted, the most telling ones first, the rest counted."""
    system = [path for path in paths if _FIRST.fullmatch(path) or _SYSTEM.fullmatch(path)]
    ordered = sorted(system, key=lambda path: (_FIRST.fullmatch(path) is None, path))
    more = len(ordered) - _MOST
    return tuple(ordered[:_MOST]) + ((f"… and {more} more",) if more > 0 else ())

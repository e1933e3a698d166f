"""Shell code that runs inside sandboxes, a file each. What it does and takes stands at its beginning."""

from __future__ import annotations

import functools
from importlib import resources


@functools.cache
def shell_script(name: str, package: str = __name__) -> str:
    """Return the code in the file `name`.sh of `package`, without its comments: it travels with every command."""
    text = resources.files(package).joinpath(f"{name}.sh").read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if line and not line.lstrip().startswith("#"))

"""Node ids of benchmark items: `terminal_test::test_task[create-file]`, and `…[create-file@2]` for a second attempt."""

from __future__ import annotations

import re

from ..runs.selection import Selection

FUNCTION = "test_task"

#: The models of a validation, whose items are `…[create-file@oracle]` and `…[create-file@nop]`.
VALIDATORS = ("oracle", "nop")

_VALIDATORS = "|".join(VALIDATORS)

#: An id as pytest prints it, which may begin with the way from the current folder to the root: `../`.
_NODE_ID = re.compile(
    rf"(?:\.\./)*(?P<bench>[A-Za-z_][A-Za-z0-9_.-]*)::{FUNCTION}(?:\[(?P<task>[^\]@]+)(?:@(?:(?P<attempt>\d+)|{_VALIDATORS}))?\])?"
)


def item_name(task: str, attempt: int, attempts: int, validator: str | None = None) -> str:
    """Return `test_task[id]`; the number of the attempt stands in it when there can be more than one."""
    if validator is not None:
        return f"{FUNCTION}[{task}@{validator}]"
    return f"{FUNCTION}[{task}@{attempt}]" if attempts > 1 or attempt > 1 else f"{FUNCTION}[{task}]"


def parse_node_id(text: str) -> Selection | None:
    """Return what a command-line argument selects if it looks like a benchmark's node id, else None."""
    match = _NODE_ID.fullmatch(text)
    if match is None:
        return None
    attempt = match["attempt"]
    return Selection(match["bench"], match["task"], None if attempt is None else int(attempt))

"""What a verifier looks at: each check returns whether the sandbox is as it should be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pytest_hermes.tools.context import ToolContext


def file_is(ctx: ToolContext, path: str, content: str) -> bool:
    """The file holds exactly this; one newline at its end may be missing or be there."""
    found = ctx.read_file(path).get("content")
    return isinstance(found, str) and found.removesuffix("\n") == content.removesuffix("\n")


def json_is(ctx: ToolContext, path: str, value: Any) -> bool:
    """The file is JSON and means this."""
    try:
        return bool(json.loads(ctx.read_file(path).get("content") or "") == value)
    except ValueError:
        return False


def succeeds(ctx: ToolContext, command: str) -> bool:
    """The command exits with 0."""
    return bool(ctx.terminal(command, timeout=20)["exit_code"] == 0)


def prints(ctx: ToolContext, command: str, output: str) -> bool:
    """The command exits with 0 and prints this; white space around it does not count."""
    result = ctx.terminal(command, timeout=20)
    return bool(result["exit_code"] == 0 and result["output"].strip() == output)


#: By the names that `tasks.toml` calls them by.
CHECKS: dict[str, Callable[..., bool]] = {check.__name__: check for check in (file_is, json_is, succeeds, prints)}

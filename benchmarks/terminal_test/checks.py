"""What a verifier looks at: each check returns whether the sandbox is as it should be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pytest_hermes.tools.context import ToolContext

Check = Callable[[ToolContext], bool]


def file_is(path: str, content: str) -> Check:
    """The file holds exactly this; one newline at its end may be missing or be there."""

    def check(ctx: ToolContext) -> bool:
        found = ctx.read_file(path).get("content")
        return isinstance(found, str) and found.removesuffix("\n") == content.removesuffix("\n")

    return check


def json_is(path: str, value: Any) -> Check:
    """The file is JSON and means this."""

    def check(ctx: ToolContext) -> bool:
        found = ctx.read_file(path).get("content")
        try:
            return bool(json.loads(found or "") == value)
        except ValueError:
            return False

    return check


def succeeds(command: str) -> Check:
    """The command exits with 0."""

    def check(ctx: ToolContext) -> bool:
        return bool(ctx.terminal(command, timeout=20)["exit_code"] == 0)

    return check


def prints(command: str, output: str) -> Check:
    """The command exits with 0 and prints this; white space around it does not count."""

    def check(ctx: ToolContext) -> bool:
        result = ctx.terminal(command, timeout=20)
        return bool(result["exit_code"] == 0 and result["output"].strip() == output)

    return check

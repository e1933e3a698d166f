"""Runs tool calls for an agent loop that was built by hand and knows its sandbox by task id only."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Collection

from .dispatch import ToolOutcome, dispatch
from .registry import session_for
from .toolsets import resolve_toolsets


def tool_runner(task_id: str | None, valid_tool_names: Collection[str]) -> Callable[[str, str], Awaitable[ToolOutcome]]:
    """Return `run(name, arguments)` for the installed tools among `valid_tool_names`.

    They act in the sandbox registered for `task_id`, made at first use; without an id, in one of its own that is
    closed at exit. Raises UsageError when a toolset cannot be loaded.
    """
    tools = [tool for tool in resolve_toolsets() if tool.name in valid_tool_names]
    key = task_id or uuid.uuid4().hex

    async def run(name: str, arguments: str) -> ToolOutcome:
        return await dispatch(tools, name, arguments, session_for(key))

    return run

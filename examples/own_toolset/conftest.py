"""A toolset of your own: a tool that counts the lines of a file in the sandbox.

pytest examples/own_toolset --hermes-model=oracle
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pytest_hermes import Tool, ToolArguments, ToolProblem, Toolset, register_toolset


class CountArguments(ToolArguments):
    path: str = Field(description="The file, relative to the working directory.")


async def count_lines(session: Any, arguments: CountArguments) -> dict[str, Any]:
    sandbox = await session.start()
    done = await sandbox.exec(["wc", "-l", arguments.path], timeout=10)
    if done.exit_code:
        raise ToolProblem(done.stderr.decode(errors="replace").strip())
    return {"lines": int(done.stdout.split()[0])}


register_toolset(
    Toolset("counting", (Tool("count_lines", "Return how many lines a text file has.", CountArguments, count_lines),))
)

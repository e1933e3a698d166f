"""Tests of your own that let an agent work.

pytest examples/test_with_an_agent.py --hermes-model=oracle    # plays `solution`
pytest examples/test_with_an_agent.py --hermes-model=anthropic/claude-sonnet-4.6
"""

from __future__ import annotations

import asyncio


def test_an_agent_writes_a_changelog(hermes_agent, tool_context, hermes_score):
    result = asyncio.run(
        hermes_agent.run(
            "Write CHANGELOG.md with one entry for version 1.0.",
            max_turns=10,
            solution="echo '## 1.0' > CHANGELOG.md",
        )
    )
    text = tool_context.read_file("CHANGELOG.md")["content"] or ""
    hermes_score(1.0 if "1.0" in text else 0.0)
    assert result.finished_naturally
    assert "1.0" in text


def test_an_agent_goes_on_where_it_was(hermes_agent, tool_context):
    """Both runs work in the sandbox of the test."""
    asyncio.run(hermes_agent.run("Make the folder notes.", solution="mkdir notes"))
    asyncio.run(hermes_agent.run("Put a file todo.txt into it.", solution="echo milk > notes/todo.txt"))
    assert tool_context.terminal("cat notes/todo.txt")["output"] == "milk\n"

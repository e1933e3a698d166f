from __future__ import annotations

import asyncio


def test_the_tool_counts(tool_context):
    tool_context.write_file("poem.txt", "one\ntwo\n")
    assert tool_context.call_tool("count_lines", {"path": "poem.txt"}) == {"lines": 2}
    assert "No such file" in tool_context.call_tool("count_lines", {"path": "nothing"})["error"]


def test_an_agent_may_call_it(hermes_agent):
    result = asyncio.run(
        hermes_agent.run(
            "How many lines has poem.txt?",
            toolsets=["terminal", "counting"],
            solution="printf 'one\\ntwo\\n' > poem.txt; wc -l poem.txt",
        )
    )
    assert result.finished_naturally

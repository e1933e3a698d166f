from __future__ import annotations

import asyncio

from conftest import LOG


def test_commands_are_written_down(hermes_agent, sandbox):
    asyncio.run(hermes_agent.run("Say hello.", solution="echo hello from the agent"))
    assert sandbox.backend == "audited"
    assert "hello from the agent" in LOG.read_text()

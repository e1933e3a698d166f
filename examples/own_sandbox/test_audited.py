from __future__ import annotations

import asyncio
from pathlib import Path


def test_commands_are_written_down(hermes_agent, sandbox):
    asyncio.run(hermes_agent.run("Say hello.", solution="echo hello from the agent"))
    assert sandbox.backend == "audited"
    assert "hello from the agent" in Path("commands.log").read_text()

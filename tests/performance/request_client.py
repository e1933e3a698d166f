"""Asks an endpoint again and again, and prints the processor milliseconds that one request takes.

python tests/performance/request_client.py BASE_URL REQUESTS IN_FLIGHT
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from pytest_hermes.models.endpoint import Endpoint
from pytest_hermes.models.keys import Address

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Run a bash command and get its output (stdout and stderr together) and exit code.",
            "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
        },
    }
    for name in ("terminal", "read_file", "write_file", "search_files")
]

#: A conversation in its third turn.
MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "Note every turn. " * 20}]
for number in range(3):
    call = {"id": f"call_{number}", "type": "function", "function": {"name": "terminal", "arguments": "{}"}}
    MESSAGES.append({"role": "assistant", "content": "x" * 200, "tool_calls": [call]})
    MESSAGES.append({"role": "tool", "tool_call_id": f"call_{number}", "content": "y" * 400})


async def main(url: str, requests: int, in_flight: int) -> None:
    endpoint = Endpoint("scripted", Address(url, "a-key"))
    left = iter(range(requests))

    async def ask() -> None:
        await endpoint.chat_completion(messages=MESSAGES, tools=TOOLS, temperature=1.0, n=1)

    async def keep_asking() -> None:
        for _ in left:
            await ask()

    # What is imported, and the connections, are made once in a run.
    await asyncio.gather(*(ask() for _ in range(in_flight)))
    began = time.process_time()
    await asyncio.gather(*(keep_asking() for _ in range(in_flight)))
    print((time.process_time() - began) / requests * 1e3)
    await endpoint.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

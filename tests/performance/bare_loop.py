"""The work of `endpoint_run.py` without any harness: the `openai` client, and a `bash -c` for each command.

python tests/performance/bare_loop.py BASE_URL TASKS IN_FLIGHT VERIFY
"""

from __future__ import annotations

import asyncio
import functools
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import openai

TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "terminal",
            "description": "Run a bash command and get its output (stdout and stderr together) and exit code.",
            "parameters": {
                "type": "object",
                "properties": {
                    "command": {"type": "string", "description": "The bash command to run."},
                    "timeout": {"type": "number", "description": "Seconds after which the command is killed."},
                },
                "required": ["command"],
            },
        },
    }
]


#: Runs a command and returns its output and exit code.
Run = Callable[[str], Awaitable[tuple[str, int | None]]]

#: Opens the sandbox of one task.
Opened = Callable[[], AbstractAsyncContextManager[Run]]


@asynccontextmanager
async def folder() -> AsyncIterator[Run]:
    """A folder of this machine."""
    path = tempfile.mkdtemp(prefix="bare-")
    try:
        yield functools.partial(bash, path)
    finally:
        shutil.rmtree(path)


async def bash(folder: str, command: str) -> tuple[str, int | None]:
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        command,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode(errors="replace"), process.returncode


async def one(client: openai.AsyncOpenAI, number: int, verify: str, opened: Opened) -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": f"Task {number}: note every turn."}]
    async with opened() as run:
        while True:
            completion = await client.chat.completions.create(model="scripted", messages=messages, tools=TOOLS)
            message = completion.choices[0].message
            messages.append(message.model_dump(exclude_none=True))
            if not message.tool_calls:
                break
            for call in message.tool_calls:
                assert call.type == "function"
                output, code = await run(json.loads(call.function.arguments)["command"])
                content = json.dumps({"output": output, "exit_code": code})
                messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
        _, code = await run(verify)
        return {"task": number, "reward": float(code == 0), "messages": messages}


async def main(base_url: str, tasks: int, in_flight: int, verify: str, opened: Opened = folder) -> None:
    sessions = asyncio.Semaphore(in_flight)
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:

        async def in_turn(number: int) -> float:
            async with sessions:
                record = await one(client, number, verify, opened)
            with Path("results.jsonl").open("a") as results:  # noqa: ASYNC230 - so does the harness
                results.write(json.dumps(record) + "\n")
            return float(record["reward"])

        rewards = await asyncio.gather(*(in_turn(number) for number in range(tasks)))
    print(f"{sum(rewards):.0f} of {tasks} passed")
    sys.exit(sum(rewards) != tasks)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))

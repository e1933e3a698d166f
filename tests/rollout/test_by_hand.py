"""Agent loops and tool contexts that are built by hand and share only a task id, as the reference's evaluate() does."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from pytest_hermes import AgentResult, HermesAgentLoop, ToolContext, UsageError
from pytest_hermes.models.endpoint import Endpoint
from pytest_hermes.models.keys import Address
from pytest_hermes.tools.toolsets import resolve_toolsets
from tests.services.model_server import ModelServer, completion


@pytest_asyncio.fixture
async def server(model_server: ModelServer) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint("m", Address(model_server.url, None))
    yield endpoint
    await endpoint.close()


async def compute_reward(item: dict[str, Any], result: AgentResult, ctx: ToolContext) -> float:
    test = ctx.terminal("cat answer.txt")
    return 1.0 if test["exit_code"] == 0 and test["output"] == item["answer"] else 0.0


async def evaluate_one(server: Endpoint, item: dict[str, Any]) -> tuple[float, AgentResult]:
    tools = resolve_toolsets(["terminal", "file"])
    task_id = str(uuid.uuid4())
    agent = HermesAgentLoop(
        server=server,
        tool_schemas=[tool.schema for tool in tools],
        valid_tool_names={tool.name for tool in tools},
        max_turns=5,
        task_id=task_id,
        temperature=0.0,
        max_tokens=100,
        extra_body=None,
    )
    result = await agent.run([{"role": "user", "content": item["question"]}])
    ctx = ToolContext(task_id)
    try:
        return await compute_reward(item, result, ctx), result
    finally:
        ctx.cleanup()


async def test_reward_and_agent_meet_in_one_sandbox(server: Endpoint, model_server: ModelServer) -> None:
    model_server.play(
        completion(None, ("terminal", {"command": "printf 42 > answer.txt"}), ("terminal", {"command": "ls"})),
        completion("Done."),
    )
    reward, result = await evaluate_one(server, {"question": "Six by nine?", "answer": "42"})
    assert reward == 1.0
    assert "answer.txt" in result.messages[3]["content"]
    assert (await evaluate_one(server, {"question": "Six by nine?", "answer": "54"}))[0] == 0.0


async def test_many_at_once_never_mix(server: Endpoint, model_server: ModelServer) -> None:
    def script(body: dict[str, Any]) -> dict[str, Any]:
        if any(message["role"] == "assistant" for message in body["messages"]):
            return completion("Done.")
        return completion(None, ("write_file", {"path": "answer.txt", "content": body["messages"][0]["content"]}))

    model_server.script = script
    outcomes = await asyncio.gather(*(evaluate_one(server, {"question": str(n), "answer": str(n)}) for n in range(8)))
    assert [reward for reward, _ in outcomes] == [1.0] * 8


async def test_wrong_calls_are_told_to_the_model(server: Endpoint, model_server: ModelServer) -> None:
    model_server.play(
        completion(
            None,
            ("terminl", {"command": "ls"}),
            ("terminal", '{"command": '),
            ("terminal", {"commnd": "ls"}),
            ("terminal", "[1]"),
        ),
        completion("Done."),
    )
    _, result = await evaluate_one(server, {"question": "", "answer": ""})
    assert [error.tool_name for error in result.tool_errors] == ["terminl", "terminal", "terminal", "terminal"]
    told = [message["content"] for message in result.messages if message["role"] == "tool"]
    assert "did you mean 'terminal'" in told[0]
    assert "not valid JSON" in told[1]
    assert "did you mean 'command'" in told[2]
    assert "must be a JSON object" in told[3]
    assert result.finished_naturally


def test_what_this_version_does_not_have_is_said() -> None:
    ctx = ToolContext("nobody")
    calls: list[Callable[[], object]] = [
        lambda: ctx.web_search("x"),
        lambda: ctx.web_extract(["x"]),
        lambda: ctx.browser_navigate("x"),
        lambda: ctx.browser_snapshot(),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="not part of this version"):
            call()

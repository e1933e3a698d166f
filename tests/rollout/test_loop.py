from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from pytest_hermes.errors import InfrastructureError, SandboxBroken
from pytest_hermes.models.endpoint import Endpoint
from pytest_hermes.models.keys import Address
from pytest_hermes.rollout.loop import HermesAgentLoop
from pytest_hermes.tools.dispatch import ToolOutcome
from tests.services.model_server import ModelServer, Reply, completion

PROMPT = [{"role": "user", "content": "Do it."}]
SCHEMA = {"type": "function", "function": {"name": "echo", "parameters": {"type": "object", "properties": {}}}}


class EchoTool:
    """Runs calls in order and remembers them; `fail` makes them tool errors."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.error: str | None = None
        self.seconds = 0.0

    async def __call__(self, name: str, arguments: str) -> ToolOutcome:
        self.calls.append((name, arguments))
        await asyncio.sleep(self.seconds)
        return ToolOutcome(f"echo {arguments}", self.error)


@pytest_asyncio.fixture
async def endpoint(model_server: ModelServer) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint("m", Address(model_server.url, None))
    yield endpoint
    await endpoint.close()


def agent(endpoint: Endpoint, tool: EchoTool, **options: Any) -> HermesAgentLoop:
    return HermesAgentLoop(endpoint, [SCHEMA], {"echo"}, run_tool=tool, **options)


async def test_calls_tools_until_the_model_has_no_more(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(
        completion("First both.", ("echo", {"n": 1}), ("echo", {"n": 2})),
        completion(None, ("echo", {"n": 3})),
        completion("That is all."),
    )
    tool = EchoTool()
    result = await agent(endpoint, tool).run(PROMPT)
    assert tool.calls == [("echo", '{"n": 1}'), ("echo", '{"n": 2}'), ("echo", '{"n": 3}')]
    assert [message["role"] for message in result.messages] == [
        "user", "assistant", "tool", "tool", "assistant", "tool", "assistant",
    ]  # fmt: skip
    assert result.messages[2] == {"role": "tool", "tool_call_id": "call_0", "content": 'echo {"n": 1}'}
    assert (result.turns_used, result.stop_reason, result.finished_naturally) == (3, "finished", True)
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (300, 30)
    assert result.tool_errors == []
    assert result.managed_state is None
    # What was sent in the last turn is the conversation so far.
    assert model_server.requests[-1].body["messages"] == result.messages[:-1]


async def test_an_agent_that_broke_its_sandbox_ends_with_every_call_answered(
    endpoint: Endpoint, model_server: ModelServer
) -> None:
    model_server.play(completion("All.", ("echo", {"n": 1}), ("echo", {"n": 2}), ("echo", {"n": 3})))
    tool = EchoTool()

    async def broken_by_the_second(name: str, arguments: str) -> ToolOutcome:
        if tool.calls:
            raise SandboxBroken("no shell")
        return await tool(name, arguments)

    result = await HermesAgentLoop(endpoint, [SCHEMA], {"echo"}, run_tool=broken_by_the_second).run(PROMPT)
    assert (result.stop_reason, result.finished_naturally, result.turns_used) == ("sandbox_broken", False, 1)
    said = [message["content"] for message in result.messages if message["role"] == "tool"]
    assert said == ['echo {"n": 1}', "not finished: no shell", "not finished: no shell"]


async def test_does_not_change_the_messages_it_is_given(endpoint: Endpoint, model_server: ModelServer) -> None:
    messages = [dict(message) for message in PROMPT]
    await agent(endpoint, EchoTool()).run(messages)
    assert messages == PROMPT


async def test_sends_the_sampling_parameters_that_are_set(endpoint: Endpoint, model_server: ModelServer) -> None:
    await agent(endpoint, EchoTool(), temperature=0.3, max_tokens=99, extra_body={"seed": 7}).run(PROMPT)
    await agent(endpoint, EchoTool(), temperature=None).run(PROMPT)
    first, second = (request.body for request in model_server.requests)
    assert (first["temperature"], first["max_tokens"], first["seed"], first["tools"]) == (0.3, 99, 7, [SCHEMA])
    assert {"temperature", "max_tokens", "seed"}.isdisjoint(second)


async def test_reasoning_is_read_from_every_field_and_stays_in_the_history(
    endpoint: Endpoint, model_server: ModelServer
) -> None:
    details = [
        {"type": "reasoning.text", "text": "in ", "signature": "abc"},
        {"type": "reasoning.text", "text": "parts"},
        {"type": "reasoning.encrypted", "data": "xyz"},
    ]
    model_server.play(
        completion(None, ("echo", {}), reasoning_content="by content"),
        completion(None, ("echo", {}), reasoning="by reasoning"),
        completion(None, ("echo", {}), reasoning_details=details),
        completion("Done."),
    )
    result = await agent(endpoint, EchoTool()).run(PROMPT)
    assert result.reasoning_per_turn == ["by content", "by reasoning", "in parts", None]
    sent = [message for message in model_server.requests[-1].body["messages"] if message["role"] == "assistant"]
    assert sent[0]["reasoning_content"] == "by content"
    assert sent[1]["reasoning"] == "by reasoning"
    assert sent[2]["reasoning_details"] == details


async def test_a_tool_error_is_told_and_the_loop_goes_on(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(completion("ok", ("echo", {})), completion(None, ("echo", "{bad")), completion("Done."))
    tool = EchoTool()
    tool.error = "it broke"
    result = await agent(endpoint, tool).run(PROMPT)
    assert result.finished_naturally
    assert [(e.turn, e.tool_name, e.arguments, e.error, e.tool_result) for e in result.tool_errors] == [
        (0, "echo", "{}", "it broke", "echo {}"),
        (1, "echo", "{bad", "it broke", "echo {bad"),
    ]


async def test_broken_arguments_are_recorded_as_written_and_sent_back_as_json(
    endpoint: Endpoint, model_server: ModelServer
) -> None:
    model_server.play(completion(None, ("echo", '{"a": ')), completion("Done."))
    result = await agent(endpoint, EchoTool()).run(PROMPT)
    assert result.messages[1]["tool_calls"][0]["function"]["arguments"] == '{"a": '
    sent = model_server.requests[-1].body["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(sent) == {"invalid_json": '{"a": '}


async def test_out_of_turns(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(completion(None, ("echo", {})))
    tool = EchoTool()
    result = await agent(endpoint, tool, max_turns=3).run(PROMPT)
    assert (result.stop_reason, result.turns_used, result.finished_naturally) == ("max_turns", 3, False)
    assert len(tool.calls) == 3  # what the last turn asked for is done


async def test_out_of_tokens(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(completion(None, ("echo", {}), prompt_tokens=60, completion_tokens=0))
    tool = EchoTool()
    result = await agent(endpoint, tool, token_budget=100).run(PROMPT)
    assert (result.stop_reason, result.turns_used) == ("tokens", 2)
    assert result.messages[-1]["role"] == "tool"


async def test_out_of_time_in_a_tool_leaves_a_whole_conversation(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(completion(None, ("echo", {"n": 1}), ("echo", {"n": 2})))
    tool = EchoTool()
    tool.seconds = 60
    result = await agent(endpoint, tool, seconds=1).run(PROMPT)
    assert (result.stop_reason, result.finished_naturally) == ("time", False)
    assert [message["role"] for message in result.messages] == ["user", "assistant", "tool", "tool"]
    assert all("time" in message["content"] for message in result.messages[2:])


async def test_a_full_context_window_ends_it(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(
        completion(None, ("echo", {})), Reply(400, '{"error": {"message": "maximum context length is 10"}}')
    )
    result = await agent(endpoint, EchoTool()).run(PROMPT)
    assert (result.stop_reason, result.turns_used) == ("context", 1)


async def test_an_answer_cut_off_is_no_natural_end(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(completion("I was about to", finish_reason="length"))
    result = await agent(endpoint, EchoTool()).run(PROMPT)
    assert (result.stop_reason, result.finished_naturally) == ("length", False)


async def test_a_server_s_own_timeout_is_not_the_task_s(endpoint: Endpoint) -> None:
    class Impatient:
        async def chat_completion(self, **parameters: Any) -> Any:
            raise TimeoutError("no answer within 5 s")

    loop = HermesAgentLoop(Impatient(), [], set(), seconds=60, run_tool=EchoTool())
    with pytest.raises(TimeoutError, match="5 s"):
        await loop.run(PROMPT)


async def test_what_came_before_a_fault_is_kept(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(completion("first", ("echo", {})), Reply(400, '{"error": {"message": "bad"}}'))
    loop = agent(endpoint, EchoTool())
    with pytest.raises(InfrastructureError, match="bad"):
        await loop.run(PROMPT)
    assert loop.result.turns_used == 1
    assert len(loop.result.messages) == 3


async def test_a_model_of_any_kind_that_never_answers_is_no_slow_agent() -> None:
    class Silent:
        async def chat_completion(self, **parameters: Any) -> Any:
            await asyncio.sleep(300)

    with pytest.raises(InfrastructureError, match=r"no answer within the agent's 0\.1 s"):
        await HermesAgentLoop(Silent(), [], set(), seconds=0.1, run_tool=EchoTool()).run(PROMPT)

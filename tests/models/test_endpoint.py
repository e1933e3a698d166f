from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from pytest_hermes.errors import FatalError, InfrastructureError
from pytest_hermes.models.endpoint import Endpoint
from pytest_hermes.models.keys import Address
from pytest_hermes.models.protocol import ContextWindowExceeded
from pytest_hermes.models.retry import RetryPolicy
from tests.services.model_server import ModelServer, Reply, completion

MESSAGES = [{"role": "user", "content": "Hi"}]

#: As patient as the default, but without its waits.
QUICK = RetryPolicy(tries=3, base=0.01, request_timeout=0.5)


@pytest_asyncio.fixture
async def endpoint(model_server: ModelServer) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint("some-model", Address(model_server.url, "the-key"), policy=QUICK)
    yield endpoint
    await endpoint.close()


async def test_asks_the_model_with_all_parameters(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(completion("Hello."))
    tools = [{"type": "function", "function": {"name": "t", "parameters": {"type": "object", "properties": {}}}}]
    answer = await endpoint.chat_completion(
        messages=MESSAGES, tools=tools, temperature=0.5, max_tokens=7, extra_body={"provider": {"order": ["x"]}}
    )
    assert answer.choices[0].message.content == "Hello."
    request = model_server.requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer the-key"
    assert request.body == {
        "model": "some-model",
        "messages": MESSAGES,
        "tools": tools,
        "temperature": 0.5,
        "max_tokens": 7,
        "provider": {"order": ["x"]},
    }


async def test_nothing_of_the_environment_goes_to_a_foreign_endpoint(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "OPENAI_API_KEY": "planted-openai",
        "OPENROUTER_API_KEY": "planted-openrouter",
        "OPENAI_ADMIN_KEY": "planted-admin",
        "OPENAI_ORG_ID": "planted-org",
        "OPENAI_PROJECT_ID": "planted-project",
        "OPENAI_CUSTOM_HEADERS": "X-Team: planted-header\nAuthorization: planted-authorization",
    }.items():
        monkeypatch.setenv(name, value)
    endpoint = Endpoint("m", Address(model_server.url, None))
    await endpoint.chat_completion(messages=MESSAGES)
    await endpoint.close()
    assert "planted" not in str(model_server.requests[0])


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
        "prompt is too long: 250000 tokens > 200000 maximum",
        "the request exceeds the available context size, try increasing it",
    ],
)
async def test_a_full_context_window_is_no_fault(endpoint: Endpoint, model_server: ModelServer, message: str) -> None:
    model_server.play(Reply(400, f'{{"error": {{"message": "{message}"}}}}'))
    with pytest.raises(ContextWindowExceeded):
        await endpoint.chat_completion(messages=MESSAGES)


async def test_openai_s_code_for_it_is_understood(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(Reply(400, '{"error": {"message": "Too big.", "code": "context_length_exceeded"}}'))
    with pytest.raises(ContextWindowExceeded):
        await endpoint.chat_completion(messages=MESSAGES)


async def test_another_refusal_is_the_endpoint_s_fault(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(Reply(400, '{"error": {"message": "no such parameter\\nat line 7"}}'))
    with pytest.raises(InfrastructureError, match=r"answered 400: no such parameter$") as caught:
        await endpoint.chat_completion(messages=MESSAGES)
    assert caught.value.kind == "endpoint"


async def test_a_login_page_is_no_completion(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(Reply(200, "<html>Please log in</html>\nmore", "text/html"))
    with pytest.raises(InfrastructureError, match="not a chat completion: '<html>Please log in</html>'"):
        await endpoint.chat_completion(messages=MESSAGES)


async def test_an_error_in_a_good_answer_is_told(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(Reply(200, '{"error": {"message": "upstream is down", "code": 502}}'))
    with pytest.raises(InfrastructureError, match="upstream is down"):
        await endpoint.chat_completion(messages=MESSAGES)


async def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        endpoint = Endpoint("m", Address(url, None), policy=QUICK)
        with pytest.raises(InfrastructureError, match=f"^cannot reach {url}: Connection refused"):
            await endpoint.chat_completion(messages=MESSAGES)
        await endpoint.close()


async def test_an_address_that_never_answered_is_not_tried_for_long() -> None:
    policy = RetryPolicy(base=0.001, first_contact=0.1)
    endpoint = Endpoint("m", Address("http://nowhere.invalid/v1", None), policy=policy)
    with pytest.raises(
        FatalError, match=r"nowhere.invalid/v1: .*not known \(\d+ requests in 0 s, and not one worked\)$"
    ):
        await endpoint.chat_completion(messages=MESSAGES)
    await endpoint.close()

"""Endpoints that want to be asked in ways of their own: what is learnt from their refusals, and what is not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from pytest_hermes.errors import InfrastructureError, UsageError
from pytest_hermes.models.endpoint import Endpoint
from pytest_hermes.models.error_body import ErrorBody, read_error
from pytest_hermes.models.keys import Address
from pytest_hermes.models.protocol import ContextWindowExceeded
from pytest_hermes.models.provider_rules import ProviderRules, learn
from pytest_hermes.models.retry import RetryPolicy
from tests.services.model_server import ModelServer, Reply, completion

Body = dict[str, Any]

MESSAGES = [{"role": "user", "content": "Hi"}]
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
#: As an agent sends it, of a model whose messages have more than the API knows.
HISTORY: list[dict[str, Any]] = [
    *MESSAGES,
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "I think",
        "tool_calls": [{**CALL, "extra_content": {"x": 1}}],
    },
    {"role": "tool", "tool_call_id": "a", "content": "done"},
]
REQUEST: Body = {"model": "m", "messages": HISTORY, "max_tokens": 9, "temperature": 0.5}


@pytest_asyncio.fixture
async def endpoint(model_server: ModelServer) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint("m", Address(model_server.url, None), policy=RetryPolicy(tries=3, base=0.01))
    yield endpoint
    await endpoint.close()


def error(message: str, code: str | None = None, param: str | None = None, status: int = 400) -> Reply:
    told = {"message": message, "type": "invalid_request_error", "code": code, "param": param}
    return Reply(status, json.dumps({"error": told}))


def refuse(server: ModelServer, refused: Callable[[Body], Reply | None]) -> None:
    """Answer all requests but those for which there is a refusal."""
    server.script = lambda body: refused(body) or completion("Hello.")


def bodies(server: ModelServer) -> list[Body]:
    return [request.body for request in server.requests]


#: What an endpoint says, and which parameters it is asked with from then on.
PARAMETERS: dict[str, tuple[str, Reply, set[str]]] = {
    "max_tokens of OpenAI's reasoning models": (
        "max_tokens",
        error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.",
            "unsupported_parameter",
            "max_tokens",
        ),
        {"max_completion_tokens", "temperature"},
    ),
    "their temperature": (
        "temperature",
        error(
            "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is "
            "supported.",
            "unsupported_value",
            "temperature",
        ),
        {"max_tokens"},
    ),
    "Moonshot's": ("temperature", error("invalid temperature: only 1 is allowed for this model"), {"max_tokens"}),
    "Anthropic's": ("temperature", error("`temperature` is deprecated for this model."), {"max_tokens"}),
    "a text that is no JSON": (
        "temperature",
        Reply(400, "temperature is not supported", "text/plain"),
        {"max_tokens"},
    ),
    "FastAPI's": (
        "temperature",
        Reply(422, '{"detail": [{"loc": ["body", "temperature"], "msg": "Extra inputs are not permitted"}]}'),
        {"max_tokens"},
    ),
    "another gateway's, which lists what it takes": (
        "temperature",
        error("Unknown parameter: temperature. Supported: model, messages, max_tokens."),
        {"max_tokens"},
    ),
}


@pytest.mark.parametrize(("name", "refusal", "asked"), PARAMETERS.values(), ids=PARAMETERS)
async def test_a_parameter_that_is_refused_is_left_out_from_then_on(
    endpoint: Endpoint,
    model_server: ModelServer,
    caplog: pytest.LogCaptureFixture,
    name: str,
    refusal: Reply,
    asked: set[str],
) -> None:
    refuse(model_server, lambda body: refusal if name in body else None)
    for _ in range(2):
        answer = await endpoint.chat_completion(messages=MESSAGES, temperature=0.5, max_tokens=9)
        assert answer.choices[0].message.content == "Hello."
    first, *later = bodies(model_server)
    assert first == {"model": "m", "messages": MESSAGES, "temperature": 0.5, "max_tokens": 9}
    # Asked again once, and right at once the next time.
    assert [body.keys() - {"model", "messages"} for body in later] == [asked, asked]
    assert all(body[key] == 9 for body in later for key in asked - {"temperature"})
    (line,) = endpoint.adaptations
    assert line.startswith(f"m at {model_server.url}: sends ")
    assert name in line
    assert [record.message for record in caplog.records] == [f"{line}, because the endpoint refuses it otherwise"]


async def test_several_refusals_are_learnt_one_after_the_other(endpoint: Endpoint, model_server: ModelServer) -> None:
    def refused(body: Body) -> Reply | None:
        for name, refusal, _ in PARAMETERS.values():
            if name in body:
                return refusal
        if not body.get("stream"):
            return error("This model only support stream mode, please enable the stream parameter to access the model.")
        return error('"stream_options" is not allowed') if "stream_options" in body else None

    refuse(model_server, refused)
    await endpoint.chat_completion(messages=MESSAGES, temperature=0.5, max_tokens=9)
    assert bodies(model_server)[-1] == {
        "model": "m",
        "messages": MESSAGES,
        "max_completion_tokens": 9,
        "stream": True,
    }
    assert len(endpoint.adaptations) == 4


async def test_one_answer_is_asked_for_without_saying_so(endpoint: Endpoint, model_server: ModelServer) -> None:
    await endpoint.chat_completion(messages=MESSAGES, n=1)
    await endpoint.chat_completion(messages=MESSAGES, n=2)
    one, two = bodies(model_server)
    assert "n" not in one
    assert two["n"] == 2


#: Refusals of fields in messages, by Cerebras, Groq, Mistral and OpenAI.
FIELDS = [
    {
        "message": "messages.1.assistant.FIELD: property 'messages.1.assistant.FIELD' is unsupported",
        "code": "wrong_api_format",
    },
    {
        "message": "'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property "
        "'FIELD' is unsupported)]"
    },
    {
        "object": "error",
        "message": {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", "messages", 1, "assistant", "FIELD"],
                    "msg": "Extra inputs are not permitted",
                    "input": "This may be long. `temperature` may be in it.",
                }
            ]
        },
    },
    {"message": "Unknown parameter: 'messages[1].FIELD'.", "param": "messages[1].FIELD"},
    {"message": "Additional properties are not allowed ('FIELD' was unexpected) - 'messages.1'"},
]


@pytest.mark.parametrize("field", ["reasoning_content", "extra_content"])
@pytest.mark.parametrize("told", FIELDS)
def test_a_field_that_is_refused_is_taken_out_of_messages_and_calls(told: dict[str, Any], field: str) -> None:
    rules = learn(read_error(json.loads(json.dumps(told).replace("FIELD", field))), REQUEST)
    assert rules == ProviderRules(without_in_messages=frozenset({field}))
    sent = rules.applied(REQUEST)
    # What was given is as it was, and all else is there.
    assert field in json.dumps(REQUEST)
    assert json.loads(json.dumps(sent)) == without(field, REQUEST)


def without(field: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without(field, item) for name, item in value.items() if name != field}
    return [without(field, item) for item in value] if isinstance(value, list) else value


async def test_fields_of_messages_are_taken_out_from_then_on(endpoint: Endpoint, model_server: ModelServer) -> None:
    def refused(body: Body) -> Reply | None:
        given = body["messages"][1].keys() & {"reasoning_content", "audio"}
        return error(f"property '{min(given)}' is unsupported") if given else None

    refuse(model_server, refused)
    history = [HISTORY[0], {**HISTORY[1], "audio": {"id": "x"}}, HISTORY[2]]
    for _ in range(2):
        await endpoint.chat_completion(messages=history)
    assert len(model_server.requests) == 4
    assert bodies(model_server)[-1]["messages"] == [HISTORY[0], without("reasoning_content", HISTORY[1]), HISTORY[2]]
    assert endpoint.adaptations == (
        f"m at {model_server.url}: does not send audio of earlier messages back",
        f"m at {model_server.url}: does not send reasoning_content of earlier messages back",
    )


async def test_a_refusal_that_names_no_field_may_be_about_those_that_the_api_does_not_know(
    endpoint: Endpoint, model_server: ModelServer
) -> None:
    extra = {"reasoning_content", "extra_content"}
    refuse(model_server, lambda body: error("Bad") if any(name in json.dumps(body) for name in extra) else None)
    for _ in range(2):
        await endpoint.chat_completion(messages=HISTORY)
    assert len(model_server.requests) == 3
    assert len(endpoint.adaptations) == 2


async def test_fields_are_sent_on_where_it_does_not_help_to_leave_them_out(
    endpoint: Endpoint, model_server: ModelServer
) -> None:
    refuse(
        model_server,
        lambda body: error("No luck" if "extra_content" in json.dumps(body) else "missing extra_content"),
    )
    with pytest.raises(InfrastructureError, match="No luck"):
        await endpoint.chat_completion(messages=HISTORY)
    assert len(model_server.requests) == 2
    assert endpoint.adaptations == ()


@pytest.mark.parametrize(
    "message",
    [
        "This model only support stream mode, please enable the stream parameter to access the model. ",
        "Stream must be set to true",
        "parameter.enable_thinking must be set to false for non-streaming calls",
        "Non-streaming requests are not supported",
    ],
)
def test_that_a_stream_is_wanted_is_understood_once(message: str) -> None:
    assert learn(ErrorBody(message), REQUEST) == ProviderRules(streaming=True)
    assert learn(ErrorBody(message), {**REQUEST, "stream": True}) is None


async def test_a_server_that_only_streams_is_asked_for_a_stream(endpoint: Endpoint, model_server: ModelServer) -> None:
    message = "This model only support stream mode"
    chunks = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}}]},
        {"choices": [{"index": 0, "delta": {"content": "lo."}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
    ]
    stream = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    model_server.script = lambda body: Reply(200, stream, "text/event-stream") if body.get("stream") else error(message)
    for _ in range(2):
        answer = await endpoint.chat_completion(messages=MESSAGES)
        assert answer.choices[0].message.content == "Hello."
        assert answer.usage.prompt_tokens == 3
    assert [body.get("stream") for body in bodies(model_server)] == [None, True, True]
    assert bodies(model_server)[1]["stream_options"] == {"include_usage": True}
    assert endpoint.adaptations == (f"m at {model_server.url}: asks for a stream",)


@pytest.mark.parametrize("content_type", ["text/event-stream", "text/plain"])
async def test_a_stream_that_was_not_asked_for_is_read(
    endpoint: Endpoint, model_server: ModelServer, content_type: str
) -> None:
    chunk = json.dumps({"choices": [{"delta": {"content": "Hello."}, "finish_reason": "stop"}]})
    model_server.play(Reply(200, f": ping\n\ndata: {chunk}\n\n", content_type))
    answer = await endpoint.chat_completion(messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello."


async def test_json_is_read_whatever_its_content_type(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(Reply(200, json.dumps(completion("Hello.")), "text/plain"))
    assert (await endpoint.chat_completion(messages=MESSAGES)).choices[0].message.content == "Hello."


async def test_a_refusal_that_stays_is_an_error_and_nothing_is_learnt(
    endpoint: Endpoint, model_server: ModelServer
) -> None:
    model_server.play(error("temperature is not supported"))
    with pytest.raises(InfrastructureError, match="answered 400: temperature is not supported"):
        await endpoint.chat_completion(messages=MESSAGES, temperature=0.5)
    assert len(model_server.requests) == 2
    assert endpoint.adaptations == ()


@pytest.mark.parametrize(
    "message",
    [
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
        "max_tokens is too large: 99999. This model supports at most 16384 completion tokens.",
        "Missing `reasoning_content` field in the assistant message at message index 1.",
        "The reasoning_content in the thinking mode must be passed back to the API.",
        "Expected `thinking` before `tool_use`",
        "m does not support tools",
        "",
    ],
)
def test_a_value_out_of_range_or_a_missing_field_changes_nothing(message: str) -> None:
    assert learn(ErrorBody(message), REQUEST) is None


def test_a_rule_does_not_override_what_a_user_set() -> None:
    rules = ProviderRules(without=frozenset({"max_tokens"}))
    assert rules.applied({**REQUEST, "max_completion_tokens": 5})["max_completion_tokens"] == 5


LONG = [{"role": "user", "content": "word " * 5000}]
UNKNOWN = "Bad request 17"


@pytest.mark.parametrize(("given", "lowered"), [({}, 1024), ({"max_tokens": 32000}, 1024), ({"max_tokens": 400}, 100)])
async def test_an_unknown_refusal_of_a_long_conversation_is_tried_with_a_shorter_answer(
    endpoint: Endpoint, model_server: ModelServer, given: dict[str, int], lowered: int
) -> None:
    refuse(model_server, lambda body: None if body.get("max_tokens") == lowered else error(UNKNOWN))
    answer = await endpoint.chat_completion(messages=LONG, **given)
    assert answer.choices[0].message.content == "Hello."
    assert [body.get("max_tokens") for body in bodies(model_server)] == [given.get("max_tokens"), lowered]
    # Now it is known what these words mean, whatever number is in them.
    model_server.play(error(UNKNOWN.replace("17", "18")))
    with pytest.raises(ContextWindowExceeded):
        await endpoint.chat_completion(messages=LONG, **given)


async def test_an_unknown_refusal_that_stays_is_the_endpoint_s(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.play(error(UNKNOWN))
    for messages, requests in ((LONG, 2), (MESSAGES, 3)):
        with pytest.raises(InfrastructureError, match=UNKNOWN):
            await endpoint.chat_completion(messages=messages)
        assert len(model_server.requests) == requests


async def test_half_a_character_does_not_keep_a_request_back(endpoint: Endpoint, model_server: ModelServer) -> None:
    messages = [{"role": "user", "content": "broken \ud83d, whole \ud83d\ude00"}]
    await endpoint.chat_completion(messages=messages, extra_body={"user": "\udfff"})
    (body,) = bodies(model_server)
    assert body["messages"][0]["content"] == "broken \ufffd, whole 😀"
    assert body["user"] == "\ufffd"


@pytest.mark.parametrize("name", ["timeout", "extra_headers", "extra_query"])
async def test_what_is_no_parameter_of_the_api_is_refused(endpoint: Endpoint, name: str) -> None:
    with pytest.raises(UsageError, match=f"does not take '{name}'"):
        await endpoint.chat_completion(messages=MESSAGES, **{name: 1})

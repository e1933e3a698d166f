"""What endpoints say of a conversation that they do not take: in all their words, and in all shapes of bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.errors import FatalError, InfrastructureError
from pytest_hermes.models.chat import Chat
from pytest_hermes.models.completion import Completion
from pytest_hermes.models.error_body import read_error
from pytest_hermes.models.faults import Asked, Fault, status_fault
from pytest_hermes.models.keys import AGENT
from pytest_hermes.models.protocol import ContextWindowExceeded, NoAnswer

ASKED = Asked("http://there/v1", "m", "KEY", True, lambda text: text, AGENT)


def fault_of(status: int, body: Any) -> Exception:
    """Return what is made of an error with this body, in the status of the answer or in a 200."""
    if status == 200:
        with pytest.raises(Exception) as caught:  # noqa: PT011  # which one it is, the tests look at
            reader().read(body)
        return caught.value
    return status_fault(ASKED, status, body, json.dumps(body), {})


def reader() -> Chat:
    async def nobody(body: Any) -> Completion:
        raise AssertionError("nothing is asked here")

    return Chat(ASKED, nobody)


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


#: Each as its endpoint says it: status and body.
TOO_LONG: dict[str, tuple[int, Any]] = {
    "Gemini": (
        400,
        [
            error(
                "The input token count (314175) exceeds the maximum number of tokens allowed (131072).",
                code=400,
                status="INVALID_ARGUMENT",
            )
        ],
    ),
    "Anthropic": (
        400,
        error(
            "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000, decrease input length",
            type="invalid_request_error",
        ),
    ),
    "Anthropic, in fewer words": (400, error("prompt is too long: 209353 tokens > 199999 maximum")),
    "Volcengine": (
        400,
        error("Total tokens of image and text exceed max message tokens. Request id: 02", code="InvalidParameter"),
    ),
    "OpenAI": (400, error("Your input exceeds the context window of this model.")),
    "OpenAI's code": (400, error("Too big.", code="context_length_exceeded")),
    "vLLM": (
        400,
        {
            "object": "error",
            "message": "'max_tokens' or 'max_completion_tokens' is too large: 8192. This model's maximum context "
            "length is 65536 tokens and your request has 57879 input tokens",
            "code": 400,
        },
    ),
    "xAI": (400, {"error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."}),
    "Groq": (413, error("Please reduce the length of the messages or completion.")),
    "Moonshot": (400, error("Your request exceeded model token limit: 131072 (requested: 200001)")),
    "MiniMax": (400, error("invalid params, context window exceeds limit")),
    "llama.cpp": (400, error("the request exceeds what is there", type="exceed_context_size_error")),
    "llama.cpp before": (500, error("the request exceeds the available context size.")),
    "LM Studio": (400, {"error": "tokens to keep from the initial prompt is greater than the context length"}),
    "text-generation-inference": (
        422,
        {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000"},
    ),
    "Alibaba": (400, error("Range of input length should be [1, 129024]")),
    "an error in a 200": (200, error("prompt is too long", code=400)),
    "one without a code in a 200": (200, error("prompt is too long")),
    "a list in a 200": (200, [error("prompt is too long")]),
}


@pytest.mark.parametrize(("status", "body"), TOO_LONG.values(), ids=TOO_LONG)
def test_a_full_context_window_is_known_in_all_words(status: int, body: Any) -> None:
    assert type(fault_of(status, body)) is ContextWindowExceeded


NO_ANSWER: dict[str, tuple[str, int, Any]] = {
    "Azure": ("filtered", 400, error("The response was filtered due to the prompt", code="content_filter")),
    "OpenAI": (
        "filtered",
        400,
        error("Invalid prompt: your prompt was flagged as potentially violating our usage policy."),
    ),
    "DeepSeek": ("filtered", 400, error("Content Exists Risk", code="invalid_request_error")),
    "DeepSeek, before": ("filtered", 400, {"detail": "Content Exists Risk"}),
    "Alibaba": ("filtered", 400, error("Input data may contain inappropriate content.", code="DataInspectionFailed")),
    "OpenRouter": ("filtered", 403, error("m requires moderation. Your input was flagged")),
    "Groq": (
        "malformed",
        400,
        error("Failed to call a function. Please adjust your prompt.", code="tool_use_failed", failed_generation="{"),
    ),
    "llama.cpp": ("malformed", 500, error("Failed to parse tool call arguments as JSON: parse error", code=500)),
    "Ollama": ("malformed", 500, {"error": "error parsing tool call: raw='{', err=unexpected end"}),
    "an error in a 200": ("filtered", 200, error("x", code="content_filter")),
}


@pytest.mark.parametrize(("reason", "status", "body"), NO_ANSWER.values(), ids=NO_ANSWER)
def test_what_a_filter_or_a_broken_call_keeps_back_is_not_the_endpoint_s_fault(
    reason: str, status: int, body: Any
) -> None:
    problem = fault_of(status, body)
    assert type(problem) is NoAnswer
    assert problem.reason == reason


def test_tokens_per_minute_are_no_context_window() -> None:
    """They come in much the same words, and pass."""
    assert type(fault_of(429, error("Too many tokens, please wait before trying again."))) is Fault


def test_what_an_error_repeats_of_the_conversation_says_nothing() -> None:
    told = {"loc": ["body", "messages", 0, "x"], "msg": "Extra inputs are not permitted", "input": "prompt is too long"}
    assert isinstance(fault_of(422, {"detail": [told]}), InfrastructureError)
    assert isinstance(fault_of(400, error(f"cannot read {'x' * 400} prompt is too long")), InfrastructureError)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (error("x", code=429), 429),
        (error("x", code="429"), 429),
        (error("x", code="rate_limit_exceeded"), 429),
        (error("x", type="rate_limit_error"), 429),
        (error("x", type="invalid_request_error", code="rate_limit_exceeded"), 429),
        (error("x", status="RESOURCE_EXHAUSTED"), 429),
        ([error("x", code=503, status="UNAVAILABLE")], 503),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, 529),
        ({"object": "error", "message": "x", "code": 500}, 500),
        (error("x", code="something_else", type="server_error"), 500),
        (error("x", code="something_else"), None),
        (error("x", code=7), None),
        (error("x", code=True), None),
        ({"detail": "x"}, None),
    ],
)
def test_the_status_that_an_error_tells(body: Any, status: int | None) -> None:
    assert read_error(body).status == status
    assert read_error(body).message == "x"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rate_limit_exceeded", Fault),
        ("overloaded_error", Fault),
        (503, Fault),
        ("invalid_api_key", FatalError),
        ("insufficient_quota", FatalError),
        ("model_not_found", FatalError),
        ("invalid_request_error", InfrastructureError),
        ("something_else", InfrastructureError),
        (None, InfrastructureError),
    ],
)
def test_an_error_in_a_200_is_taken_by_its_code(code: object, kind: type[Exception]) -> None:
    problem = fault_of(200, error("x", code=code))
    assert isinstance(problem, kind)
    assert isinstance(problem, FatalError) == (kind is FatalError)


def stream(*events: Any) -> str:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events)


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": []},
        {"choices": [{"error": {"message": "x", "code": "502"}}]},
        {"choices": [{"message": {"content": "Hel"}, "finish_reason": "error"}]},
        {"choices": [{"message": {"content": ""}, "finish_reason": "abort"}]},
        {"choices": [{"message": {"tool_calls": [{}]}, "finish_reason": "network_error"}]},
        stream({"choices": [{"delta": {"content": "Hel"}}]}),
        stream({"choices": [{"delta": {"content": "Hel"}}]}, error("x", code=502)),
        stream({"choices": [{"delta": {"content": "Hel"}, "finish_reason": "error"}]}),
    ],
)
def test_an_answer_that_breaks_off_is_a_fault(answer: Any) -> None:
    assert type(fault_of(200, answer)) is Fault


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "detail", "loc", "msg", "choices", "param", "status"]),
            inner,
            max_size=4,
        )
    ),
)


@given(values, st.sampled_from([200, 400, 401, 404, 422, 429, 500]))
def test_any_body_is_read(body: Any, status: int) -> None:
    problem = fault_of(status, body)
    assert isinstance(problem, InfrastructureError | Fault | ContextWindowExceeded | NoAnswer)
    assert len(str(problem).splitlines()) == 1

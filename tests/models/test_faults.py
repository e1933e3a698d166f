"""What an endpoint does wrong, and what is made of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from fnmatch import fnmatch
from typing import Any

import pytest
import pytest_asyncio

from pytest_hermes.errors import FatalError, InfrastructureError, UsageError
from pytest_hermes.models.clock import AgentClock
from pytest_hermes.models.endpoint import Endpoint
from pytest_hermes.models.keys import Address
from pytest_hermes.models.retry import RetryPolicy, read_retry_after
from tests.services.model_server import ModelServer, Reply, completion

MESSAGES = [{"role": "user", "content": "Hi"}]
KEY = "sesame-open-the-door"
GOOD = completion("Hello.")
WHOLE = json.dumps(GOOD)

TRANSIENT = {
    "408": Reply(408),
    "409": Reply(409),
    "429": Reply(429),
    "500": Reply(500),
    "503": Reply(503),
    "529": Reply(529),
    "an upstream's 502 in a 200": Reply(200, '{"error": {"message": "upstream is down", "code": 502}}'),
    "a word for a 429 in a 200": Reply(200, '{"error": {"message": "x", "code": "rate_limit_exceeded"}}'),
    "no choice": Reply(200, '{"choices": []}'),
    "an answer that an error ends": Reply(200, json.dumps(completion("Hel", finish_reason="error"))),
    "a stream that breaks off": Reply(
        200, 'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n', "text/event-stream"
    ),
    "reset": Reply(mood="reset"),
    "half a body": Reply(body=WHOLE, mood="half"),
    "hang": Reply(mood="hang"),
    "trickle": Reply(body=WHOLE, mood="trickle", seconds=0.02),
}


@pytest_asyncio.fixture
async def endpoint(model_server: ModelServer) -> AsyncIterator[Endpoint]:
    policy = RetryPolicy(tries=3, base=0.01, request_timeout=1)
    endpoint = Endpoint("some-model", Address(model_server.url, KEY), policy=policy)
    yield endpoint
    await endpoint.close()


def first_then(server: ModelServer, *faults: Reply) -> None:
    """Answer with these faults, and well ever after."""
    left = list(faults)
    server.script = lambda body: left.pop(0) if left else GOOD


async def ask(endpoint: Endpoint) -> Any:
    return (await endpoint.chat_completion(messages=MESSAGES)).choices[0].message.content


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
async def test_what_may_pass_is_tried_again(
    endpoint: Endpoint, model_server: ModelServer, fault: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    first_then(model_server, fault, fault)
    assert await ask(endpoint) == "Hello."
    assert len(model_server.requests) == 3
    # The log names the reason for a wait, and not each time.
    (problem,) = [record.message for record in caplog.records if record.name == "pytest_hermes.models"]
    assert model_server.url in problem
    assert problem.endswith(" s, at most 2 retries")


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
async def test_what_does_not_pass_is_an_error(endpoint: Endpoint, model_server: ModelServer, fault: Reply) -> None:
    model_server.play(fault)
    with pytest.raises(InfrastructureError, match=r"\(3 tries\)$") as caught:
        await ask(endpoint)
    assert caught.value.kind == "endpoint"
    assert not isinstance(caught.value, FatalError)
    assert len(model_server.requests) == 3


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (Reply(500, '{"error": {"message": "first line\\nsecond line"}}'), "answered 500: first line (3 tries)"),
        (Reply(500), "answered 500: Internal Server Error (3 tries)"),
        (Reply(502, "<html>\n<head><title>502 Bad Gateway</title>", "text/html"), "answered 502: 502 Bad Gateway (3"),
        (Reply(429, '{"error": "slow down"}', headers={"Retry-After": "0"}), "answered 429: slow down (3 tries)"),
        (Reply(429, "later", headers={"Retry-After": "86400"}), "answered 429: later (it asks to wait 86400 s)"),
        (Reply(mood="hang"), "did not answer within 1 s (3 tries)"),
        (Reply(mood="reset"), "broke: Connection reset by peer (3 tries)"),
        (Reply(400, '{"detail": "no such parameter"}'), "answered 400: no such parameter"),
    ],
)
async def test_the_cause_is_said_in_one_line(
    endpoint: Endpoint, model_server: ModelServer, fault: Reply, problem: str
) -> None:
    model_server.play(fault)
    with pytest.raises(InfrastructureError) as caught:
        await ask(endpoint)
    assert problem in str(caught.value)
    assert model_server.url in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("body", ["", "null", "[]", "7", "{}", WHOLE[:60], '{"choices": [{"message": "Hello."}]}'])
async def test_a_body_that_is_no_completion_is_not_asked_for_again(
    endpoint: Endpoint, model_server: ModelServer, body: str
) -> None:
    model_server.play(Reply(body=body))
    with pytest.raises(InfrastructureError, match="is not a chat completion: "):
        await ask(endpoint)
    assert len(model_server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        (
            Reply(401, f'{{"error": {{"message": "Incorrect API key: {KEY}"}}}}'),
            "refused the key: check PYTEST_HERMES_API_KEY (401: *",
        ),
        (
            Reply(402, '{"error": {"message": "out of credits"}}'),
            "has no credit left for this key: add some, or set another PYTEST_HERMES_API_KEY (402: *",
        ),
        (Reply(429, '{"error": {"message": "x", "code": "insufficient_quota"}}'), "has no credit left for this key*"),
        (
            Reply(403, "nope", "text/plain"),
            "does not allow this key to use 'some-model': check PYTEST_HERMES_API_KEY and --hermes-model (403: *",
        ),
        (
            Reply(404, '{"error": {"message": "x", "code": "model_not_found"}}'),
            "has no model 'some-model': check --hermes-model, and that --hermes-base-url is *(404: *",
        ),
        (Reply(200, '{"error": {"message": "x", "code": 401}}'), "refused the key*"),
    ],
)
async def test_a_refusal_says_what_to_do_and_is_final(
    endpoint: Endpoint, model_server: ModelServer, reply: Reply, advice: str
) -> None:
    model_server.play(reply)
    with pytest.raises(FatalError) as caught:
        await ask(endpoint)
    assert fnmatch(str(caught.value), f"{model_server.url} {advice}")
    assert KEY not in str(caught.value)
    assert len(model_server.requests) == 1


async def test_a_missing_key_is_told_from_a_wrong_one(model_server: ModelServer) -> None:
    model_server.play(Reply(401))
    endpoint = Endpoint("m", Address(model_server.url, None))
    with pytest.raises(FatalError, match="needs a key: set PYTEST_HERMES_API_KEY"):
        await ask(endpoint)
    await endpoint.close()


async def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(model_server: ModelServer) -> None:
    with pytest.raises(UsageError, match="the key in PYTEST_HERMES_API_KEY has characters") as caught:
        Endpoint("m", Address(model_server.url, f"{KEY}\n{KEY}"))
    assert KEY not in str(caught.value)


async def test_retry_after_is_waited_for(endpoint: Endpoint, model_server: ModelServer) -> None:
    first_then(model_server, Reply(429, headers={"Retry-After": "1"}))
    began = asyncio.get_running_loop().time()
    assert await ask(endpoint) == "Hello."
    assert asyncio.get_running_loop().time() - began >= 1


def test_retry_after_is_a_number_or_a_date() -> None:
    assert read_retry_after("12") == 12
    assert read_retry_after("0.5") == 0.5
    assert read_retry_after("-3") == 0
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert read_retry_after(in_an_hour) == pytest.approx(3600, abs=60)
    assert read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    for nothing in (None, "", "soon", "nan", "inf"):
        assert read_retry_after(nothing) is None


def test_waits_grow_with_full_jitter_and_are_bounded() -> None:
    policy = RetryPolicy(tries=8, base=1, longest_wait=10, total=100)
    longest = [1, 2, 4, 8, 10, 10, 10]
    for tried, most in enumerate(longest, start=1):
        waits = [policy.wait(tried, 0, None) for _ in range(200)]
        assert all(wait is not None and 0 <= wait <= most for wait in waits)
        assert max(wait for wait in waits if wait is not None) > most / 2
        assert min(wait for wait in waits if wait is not None) < most / 2
    assert policy.wait(8, 0, None) is None
    assert policy.wait(1, 101, None) is None
    assert policy.wait(1, 0, 101) is None
    asked = policy.wait(1, 0, 50)
    assert asked is not None
    assert 50 <= asked <= 51


async def test_faults_are_not_on_the_agent_s_time(endpoint: Endpoint, model_server: ModelServer) -> None:
    first_then(model_server, Reply(503, headers={"Retry-After": "0.7"}), Reply(503, mood="late", seconds=0.7))
    async with AgentClock(1) as clock:
        assert await ask(endpoint) == "Hello."
    assert clock.backoff > 1.3
    assert clock.retries == 2


async def test_a_slow_answer_is_on_the_agent_s_time(endpoint: Endpoint, model_server: ModelServer) -> None:
    first_then(model_server, Reply(503), Reply(body=WHOLE, mood="late", seconds=0.6))
    clock = AgentClock(0.3)

    async def work() -> None:
        async with clock:
            await ask(endpoint)
            await asyncio.sleep(0.2)

    with pytest.raises(TimeoutError):
        await work()
    assert clock.expired
    assert len(model_server.requests) == 2
    assert 0 < clock.backoff < 0.6


async def test_one_call_s_back_off_does_not_hold_up_another(endpoint: Endpoint, model_server: ModelServer) -> None:
    model_server.script = lambda body: (
        Reply(500, headers={"Retry-After": "30"}) if body["messages"][0]["content"] == "unlucky" else GOOD
    )
    unlucky = asyncio.create_task(endpoint.chat_completion(messages=[{"role": "user", "content": "unlucky"}]))
    async with asyncio.timeout(20):
        while not model_server.requests:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    async with asyncio.timeout(20):
        for _ in range(5):
            assert await ask(endpoint) == "Hello."
    assert not unlucky.done()
    unlucky.cancel()

"""The number of calls in flight follows what the endpoint can take."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from pytest_hermes.errors import InfrastructureError
from pytest_hermes.models.endpoint import Endpoint
from pytest_hermes.models.keys import Address
from pytest_hermes.models.limiter import CallLimiter, CallLimiters
from pytest_hermes.models.retry import RetryPolicy
from tests.services.model_server import ModelServer, Reply, completion

MESSAGES = [{"role": "user", "content": "Hi"}]


async def call(limiter: CallLimiter, outcome: str, go: asyncio.Event) -> None:
    async with limiter.slot() as epoch:
        await go.wait()
        if outcome == "succeeded":
            limiter.succeeded(epoch)
        elif outcome == "overloaded":
            limiter.overloaded(epoch)


async def round_trip(limiter: CallLimiter, *outcomes: str) -> int:
    """Make calls at the same time, as many as the limit lets, and return how many were in flight."""
    go = asyncio.Event()
    calls = [asyncio.create_task(call(limiter, outcome, go)) for outcome in outcomes]
    await asyncio.sleep(0)
    in_flight = limiter.in_flight
    go.set()
    await asyncio.gather(*calls)
    assert limiter.in_flight == 0
    return in_flight


async def test_a_round_of_refusals_halves_the_limit_once() -> None:
    limiter = CallLimiter(16)
    assert await round_trip(limiter, *["overloaded"] * 16) == 16
    assert limiter.limit == 8
    assert await round_trip(limiter, *["overloaded"] * 4) == 4
    assert limiter.limit == 4
    for _ in range(4):
        await round_trip(limiter, "overloaded")
    assert limiter.limit == 1


async def test_a_window_of_successes_grows_it_by_one_up_to_the_maximum() -> None:
    limiter = CallLimiter(8)
    await round_trip(limiter, *["overloaded"] * 8)
    limits = []
    for _ in range(4 + 5 + 6 + 7 + 20):
        await round_trip(limiter, "succeeded")
        limits.append(limiter.limit)
    assert limits == [4] * 3 + [5] * 5 + [6] * 6 + [7] * 7 + [8] * 21


async def test_other_faults_say_nothing_about_the_load() -> None:
    limiter = CallLimiter(8)
    await round_trip(limiter, *["failed"] * 8)
    assert limiter.limit == 8


async def test_a_limit_nobody_reached_is_cut_to_half_of_what_was_in_flight() -> None:
    limiter = CallLimiter(256)
    await round_trip(limiter, *["overloaded"] * 6)
    assert limiter.limit == 3


async def test_who_waits_longest_is_next_and_who_gave_up_holds_nothing() -> None:
    limiter = CallLimiter(1)
    entered = []

    async def enter(name: str) -> None:
        async with limiter.slot():
            entered.append(name)
            await asyncio.sleep(0)

    go = asyncio.Event()
    first = asyncio.create_task(call(limiter, "succeeded", go))
    waiting = {}
    for name in "abc":
        await asyncio.sleep(0)
        waiting[name] = asyncio.create_task(enter(name))
    await asyncio.sleep(0)
    waiting["a"].cancel()
    go.set()
    await asyncio.gather(first, *waiting.values(), return_exceptions=True)
    assert entered == ["b", "c"]
    assert limiter.in_flight == 0


async def test_a_slot_given_to_a_cancelled_call_goes_to_the_next() -> None:
    limiter = CallLimiter(1)
    go = asyncio.Event()
    first = asyncio.create_task(call(limiter, "succeeded", go))
    await asyncio.sleep(0)
    second = asyncio.create_task(call(limiter, "succeeded", go))
    third = asyncio.create_task(call(limiter, "succeeded", go))
    await asyncio.sleep(0)
    go.set()
    await first
    second.cancel()  # its turn has come, but it does not know yet
    async with asyncio.timeout(5):
        await third
    assert limiter.in_flight == 0


def test_sources_of_one_endpoint_share_a_limit() -> None:
    limiters = CallLimiters(8)
    assert limiters.at("http://a/v1") is limiters.at("http://a/v1")
    assert limiters.at("http://a/v1") is not limiters.at("http://b/v1")
    assert limiters.at("http://a/v1").limit == 8


@pytest.mark.parametrize("status", [429, 503])
async def test_an_endpoint_that_takes_four_at_once_is_asked_no_more_for_long(
    model_server: ModelServer, status: int
) -> None:
    """The server refuses what is above its own limit; all calls end well, and hardly any is refused in the end."""
    lock, busy, refused = threading.Lock(), 0, 0

    def script(body: dict[str, Any]) -> Any:
        nonlocal busy, refused
        with lock:
            if busy >= 4:
                refused += 1
                return Reply(status)
            busy += 1
        threading.Event().wait(0.02)
        with lock:
            busy -= 1
        return completion("Hello.")

    model_server.script = script
    policy = RetryPolicy(tries=50, base=0.01, longest_wait=0.1)
    limiter = CallLimiter(32)
    endpoint = Endpoint("m", Address(model_server.url, None), calls=limiter, policy=policy)

    async def rollout() -> None:
        for _ in range(5):
            await endpoint.chat_completion(messages=MESSAGES)
            limits.append(limiter.limit)

    limits: list[int] = []
    await asyncio.gather(*(rollout() for _ in range(32)))
    await endpoint.close()
    assert limiter.limit < 32
    assert min(limits) <= 4
    assert len(model_server.requests) == 160 + refused


async def test_the_limit_is_left_alone_by_a_server_error(model_server: ModelServer) -> None:
    model_server.play(Reply(500))
    endpoint = Endpoint("m", Address(model_server.url, None), policy=RetryPolicy(tries=2, base=0.01))
    with pytest.raises(InfrastructureError):
        await endpoint.chat_completion(messages=MESSAGES)
    await endpoint.close()
    assert endpoint.calls.limit == endpoint.calls.maximum

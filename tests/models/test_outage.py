"""An endpoint that is down: what one call finds out, all know."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from pytest_hermes.errors import FatalError, InfrastructureError
from pytest_hermes.models.clock import AgentClock
from pytest_hermes.models.endpoint import Endpoint
from pytest_hermes.models.keys import Address
from pytest_hermes.models.retry import RetryPolicy
from tests.services.model_server import ModelServer, Reply, completion

GOOD = completion("Hello.")
DOWN = Reply(500, '{"error": {"message": "it fell over"}}')

#: As the default, in less time.
QUICK = RetryPolicy(tries=20, base=0.05, longest_wait=0.4, request_timeout=0.2, first_contact=0.6)

Connect = Callable[..., Endpoint]


class Switch:
    """The script of a server that can be turned off. Its good answers take a moment."""

    def __init__(self) -> None:
        self.off = False
        self.fault = DOWN

    def __call__(self, body: dict[str, Any]) -> Reply:
        return self.fault if self.off else Reply(body=json.dumps(GOOD), mood="late", seconds=0.05)


@pytest.fixture
def switch(model_server: ModelServer) -> Switch:
    switch = Switch()
    model_server.script = switch
    return switch


@pytest_asyncio.fixture
async def connect(model_server: ModelServer) -> AsyncIterator[Connect]:
    """Makes endpoints at the server."""
    made: list[Endpoint] = []

    def connect(policy: RetryPolicy = QUICK) -> Endpoint:
        made.append(Endpoint("m", Address(model_server.url, None), policy=policy))
        return made[-1]

    yield connect
    for endpoint in made:
        await endpoint.close()


async def ask(endpoint: Endpoint) -> str | None:
    answer = await endpoint.chat_completion(messages=[{"role": "user", "content": "Hi"}])
    reply: str | None = answer.choices[0].message.content
    return reply


async def ask_while_down(
    endpoint: Endpoint, server: ModelServer, switch: Switch, calls: int
) -> list[asyncio.Task[Any]]:
    """Let an endpoint work once, turn it off, and return calls that have all failed once."""
    await ask(endpoint)
    switch.off = True
    tasks = [asyncio.create_task(ask(endpoint)) for _ in range(calls)]
    await until(lambda: len(server.requests) > calls and endpoint.calls.in_flight == 0)
    return tasks


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("fault", [DOWN, Reply(503), Reply(mood="reset"), Reply(mood="hang")])
async def test_an_endpoint_that_never_works_is_given_up(
    connect: Connect, model_server: ModelServer, fault: Reply
) -> None:
    model_server.play(fault)
    endpoint = connect()
    began = asyncio.get_running_loop().time()
    outcomes = await asyncio.gather(*(ask(endpoint) for _ in range(16)), return_exceptions=True)
    assert 0.5 < asyncio.get_running_loop().time() - began < 4
    assert {type(outcome) for outcome in outcomes} == {FatalError}
    assert str(outcomes[0]).endswith("and not one worked)")
    assert len(model_server.requests) < 32
    assert endpoint.calls.outage.waits is None


async def test_a_fault_at_the_beginning_is_not_the_end(connect: Connect, model_server: ModelServer) -> None:
    """Although the model takes longer for its first answer than an endpoint that does not work gets."""
    faults = [DOWN]
    slow = Reply(body=json.dumps(GOOD), mood="late", seconds=0.6)
    model_server.script = lambda body: faults.pop() if faults else slow
    endpoint = connect(RetryPolicy(base=0.05, first_contact=0.2))
    assert await asyncio.gather(*(ask(endpoint) for _ in range(4))) == ["Hello."] * 4


async def test_an_endpoint_that_asks_to_be_asked_less_works(connect: Connect, model_server: ModelServer) -> None:
    left = [Reply(429)] * 12
    model_server.script = lambda body: left.pop() if left else GOOD
    endpoint = connect(RetryPolicy(tries=20, base=0.05, longest_wait=0.2, first_contact=0.01))
    assert await asyncio.gather(*(ask(endpoint) for _ in range(4))) == ["Hello."] * 4


async def test_one_call_asks_for_all(connect: Connect, model_server: ModelServer, switch: Switch) -> None:
    endpoint = connect()
    calls = await ask_while_down(endpoint, model_server, switch, 40)
    # One that begins meanwhile waits as well.
    calls.append(asyncio.create_task(ask(endpoint)))
    before = len(model_server.requests)
    await until(lambda: len(model_server.requests) >= before + 3)
    assert len(model_server.requests) <= 1 + 40 + 8
    assert model_server.url in str(endpoint.calls.outage.waits)
    model_server.peak = 0
    switch.off = False
    async with asyncio.timeout(10):
        assert set(await asyncio.gather(*calls)) == {"Hello."}
    assert model_server.peak > 1
    assert endpoint.calls.outage.waits is None


async def test_a_try_for_all_is_a_try_of_each(connect: Connect, model_server: ModelServer, switch: Switch) -> None:
    endpoint = connect(RetryPolicy(tries=4, base=0.02))
    calls = await ask_while_down(endpoint, model_server, switch, 10)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {InfrastructureError}
    assert {str(outcome) for outcome in outcomes} == {f"{model_server.url} answered 500: it fell over (4 tries)"}
    assert len(model_server.requests) == 1 + 10 + 3


async def test_if_the_one_that_asks_ends_another_one_does(
    connect: Connect, model_server: ModelServer, switch: Switch
) -> None:
    endpoint = connect(RetryPolicy(base=0.1, longest_wait=0.1, request_timeout=0.3))
    calls = await ask_while_down(endpoint, model_server, switch, 5)
    for call in calls[:-1]:  # all but one: whichever asks is among them, or it is the last one
        before = len(model_server.requests)
        await until(lambda before=before: len(model_server.requests) > before)  # type: ignore[misc]
        call.cancel()
    switch.off = False
    async with asyncio.timeout(10):
        assert await calls[-1] == "Hello."


async def test_an_older_request_may_bring_the_good_news(
    connect: Connect, model_server: ModelServer, switch: Switch
) -> None:
    endpoint = connect(RetryPolicy(base=60, longest_wait=60))
    await ask(endpoint)

    def script(body: dict[str, Any]) -> Reply:
        if body["messages"][0]["content"] == "old":
            return Reply(body=json.dumps(GOOD), mood="late", seconds=0.5)
        return switch(body)

    model_server.script = script
    old = asyncio.create_task(endpoint.chat_completion(messages=[{"role": "user", "content": "old"}]))
    await until(lambda: len(model_server.requests) == 2)
    switch.off = True
    calls = [asyncio.create_task(ask(endpoint)) for _ in range(4)]
    await until(lambda: len(model_server.requests) == 6)
    switch.off = False
    async with asyncio.timeout(10):  # much less than they would wait by themselves
        await old
        assert await asyncio.gather(*calls) == ["Hello."] * 4


async def test_an_outage_is_not_on_the_agents_time(connect: Connect, model_server: ModelServer, switch: Switch) -> None:
    endpoint = connect()
    await ask(endpoint)

    async def agent() -> tuple[str | None, float, int]:
        async with AgentClock(0.3) as clock:
            reply = await ask(endpoint)
        return reply, clock.backoff, clock.retries

    switch.off = True
    agents = [asyncio.create_task(agent()) for _ in range(5)]
    await asyncio.sleep(1)
    switch.off = False
    for reply, backoff, retries in await asyncio.gather(*agents):
        assert reply == "Hello."
        assert backoff > 0.8
        assert retries >= 1


async def test_a_wrong_address_ends_the_run_at_once_unless_it_has_worked(
    connect: Connect, model_server: ModelServer, switch: Switch
) -> None:
    switch.fault = Reply(307, headers={"Location": "http://elsewhere.invalid/v1"})
    switch.off = True
    endpoint = connect()
    reply = "redirects to another host, http://elsewhere.invalid/v1: nothing was sent there"
    with pytest.raises(FatalError, match=reply):
        await ask(endpoint)
    switch.off = False
    await ask(endpoint)
    switch.off = True
    with pytest.raises(InfrastructureError, match=reply) as caught:
        await ask(endpoint)
    assert not isinstance(caught.value, FatalError)
    assert len(model_server.requests) == 3

"""The building blocks of rewards."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from typing import Any

import pytest

from pytest_hermes.errors import FatalError, InfrastructureError
from pytest_hermes.judging import Judging
from pytest_hermes.models.endpoint import Endpoint
from pytest_hermes.models.keys import Address
from pytest_hermes.models.retry import RetryPolicy
from pytest_hermes.result import AgentResult
from pytest_hermes.rewards import (
    Judgement,
    binary,
    efficiency,
    final_response,
    keyword_overlap,
    llm_judge,
    multi_signal,
    tools_used,
)
from pytest_hermes.tools.context import ToolContext
from tests.services.model_server import ModelServer, Reply, completion


@pytest.fixture
async def judge(model_server: ModelServer) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint("judge", Address(model_server.url, "sesame-key"), policy=RetryPolicy(tries=2, base=0.01))
    yield endpoint
    await endpoint.close()


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"score": 0.25, "reason": "half of it"}', 0.25),
        ('```json\n{"score": 1}\n```', 1.0),
        ('{"score": 0}', 0.0),
    ],
)
async def test_a_judge_that_answers(model_server: ModelServer, judge: Endpoint, reply: str, score: float) -> None:
    model_server.play(completion(reply))
    judgement = await llm_judge(judge, question="Q?", answer="A.", reference="R.", rubric="Be strict.")
    assert (judgement.score, judgement.source) == (score, "judge")
    (request,) = model_server.requests
    assert request.body["temperature"] == 0.0
    assert "Be strict." in request.body["messages"][0]["content"]
    assert "Reference answer:\nR." in request.body["messages"][1]["content"]


#: Answers that no judge may give, why not, and how often the judge is asked.
UNUSABLE = [
    ("I would say 0.9.", "not a JSON object: 'I would say 0.9.'", 2),
    ('{"score": 1.5}', "a score of 1.5, which is not from 0 to 1", 2),
    ('{"score": NaN}', "a score of nan, which is not from 0 to 1", 2),
    ('{"score": "0.9"}', "the score is not a number", 2),
    ('{"score": true}', "the score is not a number", 2),
    ('{"score": 0.5} and {"score": 0.7}', "not a JSON object", 2),
    ("[0.5]", "the score is not a number", 2),
    (None, "the judge's second answer cannot be used either: it has no text", 2),
    (completion('{"sco', finish_reason="length"), "it was cut off; llm_judge(max_tokens=…) allows a longer one", 2),
    (Reply(400, '{"error": {"message": "no"}}'), "the judge did not answer: http://*answered 400: no", 1),
    (
        Reply(500, "it fell over\nat line 7"),
        "the judge did not answer: http://*answered 500: it fell over (2 tries)",
        2,
    ),
    (Reply(mood="hang"), "the judge did not answer within 4 s", 1),
    (Reply(body="<html>"), "the judge did not answer: *is not a chat completion: '<html>'", 1),
]


def play(server: ModelServer, reply: Any) -> None:
    server.play(completion(reply) if reply is None or isinstance(reply, str) else reply)


async def ask(judge: Endpoint, **options: Any) -> Judgement:
    return await llm_judge(judge, question="Q?", answer="a red fox", reference="The red fox.", timeout=4, **options)


@pytest.mark.parametrize(("reply", "why", "requests"), UNUSABLE)
async def test_a_judge_that_does_not_score_is_an_error_of_the_verifier(
    model_server: ModelServer, judge: Endpoint, reply: Any, why: str, requests: int
) -> None:
    play(model_server, reply)
    with pytest.raises(InfrastructureError) as caught:
        await ask(judge)
    assert caught.value.kind == "verifier"
    assert fnmatchcase(str(caught.value).replace("[", "("), f"*{why}*".replace("[", "("))
    assert "\n" not in str(caught.value)
    assert len(model_server.requests) == requests


@pytest.mark.parametrize(("reply", "why", "requests"), UNUSABLE)
async def test_a_heuristic_scores_in_its_stead_where_one_is_given(
    model_server: ModelServer, judge: Endpoint, reply: Any, why: str, requests: int, caplog: pytest.LogCaptureFixture
) -> None:
    play(model_server, reply)
    judgement = await ask(judge, heuristic=keyword_overlap)
    assert (judgement.score, judgement.source) == (2 / 3, "heuristic")
    assert fnmatchcase(judgement.reason.replace("[", "("), f"*{why}*".replace("[", "("))
    assert f"scored by the heuristic (0.667): {judgement.reason}" in caplog.text
    assert (await ask(judge, heuristic=lambda answer, reference: 7.0)).score == 1.0


async def test_a_judge_is_told_what_was_wrong_and_asked_once_more(model_server: ModelServer, judge: Endpoint) -> None:
    model_server.play(completion('{"score": 5}'), completion('{"score": 0.5}'))
    judging = Judging()
    with judging.current():
        assert (await ask(judge)).score == 0.5
    reply, correction = model_server.requests[1].body["messages"][-2:]
    assert reply == {"role": "assistant", "content": '{"score": 5}'}
    assert correction["content"].startswith("That cannot be used: a score of 5, which is not from 0 to 1. Reply with")
    assert (judging.source, judging.usage.prompt_tokens, judging.usage.completion_tokens) == ("judge", 200, 20)


async def test_what_a_door_falls_back_on_is_the_heuristic(model_server: ModelServer, judge: Endpoint) -> None:
    for reply in (completion("0.9"), Reply(401)):
        model_server.play(reply)
        judging = Judging(fallback=keyword_overlap)
        with judging.current():
            assert (await ask(judge)).source == "heuristic"
        assert judging.source == "heuristic"
    with judging.current():
        model_server.play(completion('{"score": 1}'))
        await ask(judge)
    # One score of several is enough.
    assert judging.source == "heuristic"


@pytest.mark.parametrize("heuristic", [None, keyword_overlap])
async def test_a_refused_judge_ends_the_run(model_server: ModelServer, judge: Endpoint, heuristic: Any) -> None:
    model_server.play(Reply(401, '{"error": {"message": "no sesame-key"}}'))
    with pytest.raises(
        FatalError, match=r"^the judge: http://\S+ refused the key: check \S+ \(401: no \[redacted\]\)$"
    ):
        await ask(judge, heuristic=heuristic)


def test_signals_are_weighted_and_clamped() -> None:
    assert multi_signal({"correct": (0.6, 1.0), "tools": (0.2, 0.5), "short": (0.2, 0.0)}) == pytest.approx(0.7)
    assert multi_signal({"correct": (1, 7.0)}) == 1.0
    assert multi_signal({"correct": (1, 0.9)}, bonus=0.5) == 1.0
    with pytest.raises(ValueError, match="'correct' is nan"):
        multi_signal({"correct": (1, math.nan)})
    with pytest.raises(ValueError, match="weights"):
        multi_signal({"correct": (0, 1.0)})


def test_what_an_agent_said_and_called() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "terminal", "arguments": "{}"}}
    result = AgentResult(
        messages=[
            {"role": "user", "content": "Go."},
            {"role": "assistant", "content": "First.", "tool_calls": [call, call]},
            {"role": "tool", "tool_call_id": "1", "content": "{}"},
            {"role": "assistant", "content": None},
        ],
        turns_used=2,
    )
    assert final_response(result) == "First."
    assert tools_used(result) == ["terminal", "terminal"]
    assert efficiency(result, free_turns=1, max_turns=5) == 0.75
    assert keyword_overlap("anything", "") == 0.0


def test_a_command_decides(tmp_path: Any) -> None:
    ctx = ToolContext("rewards-binary")
    try:
        assert binary(ctx, "true") == 1.0
        assert binary(ctx, "exit 3") == 0.0
        assert binary(ctx, "sleep 5", timeout=0.1) == 0.0
    finally:
        ctx.cleanup()

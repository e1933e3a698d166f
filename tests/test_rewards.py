"""The building blocks of rewards."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pytest_hermes.models.endpoint import Endpoint
from pytest_hermes.models.keys import Address
from pytest_hermes.result import AgentResult
from pytest_hermes.rewards import (
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


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ('{"score": 0.25, "reason": "half of it"}', 0.25),
        ('```json\n{"score": 1}\n```', 1.0),
        ('{"score": 0}', 0.0),
    ],
)
async def test_a_judge_that_answers(model_server: ModelServer, said: str, score: float) -> None:
    model_server.play(completion(said))
    judge = Endpoint("judge", Address(model_server.url, None))
    judgement = await llm_judge(judge, question="Q?", answer="A.", reference="R.", rubric="Be strict.")
    await judge.close()
    assert (judgement.score, judgement.source) == (score, "judge")
    request = model_server.requests[0].body
    assert request["temperature"] == 0.0
    assert "Be strict." in request["messages"][0]["content"]
    assert "Reference answer:\nR." in request["messages"][1]["content"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("I would say 0.9.", "not a JSON object"),
        ('{"score": 1.5}', "a score of 1.5"),
        ('{"score": NaN}', "a score of nan"),
        ('{"score": "0.9"}', "no number as score"),
        ('{"score": true}', "no number as score"),
        ('{"score": 0.5} and {"score": 0.7}', "not a JSON object"),
        ("[0.5]", "no number as score"),
        (None, "it has no text"),
        (Reply(400, '{"error": {"message": "no"}}'), "did not answer: InfrastructureError"),
    ],
)
async def test_what_a_judge_cannot_say_the_heuristic_does(
    model_server: ModelServer, said: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    model_server.play(said if isinstance(said, Reply) else completion(said))
    judge = Endpoint("judge", Address(model_server.url, None))
    judgement = await llm_judge(judge, question="Q?", answer="a red fox", reference="The red fox.")
    await judge.close()
    assert (judgement.score, judgement.source) == (2 / 3, "heuristic")
    assert why in judgement.reason
    assert f"scored by the heuristic (0.667): {judgement.reason}" in caplog.text


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

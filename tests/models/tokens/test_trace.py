"""Traces: when a new segment begins, and that nothing that is wrong passes for right."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.models.tokens.trace import IGNORED, TokenTrace
from pytest_hermes.models.tokens.trace_validation import problems

END = 99
IDS = st.lists(st.integers(0, 90), min_size=1, max_size=6)


@st.composite
def traces(draw: st.DrawFn) -> TokenTrace:
    trace = TokenTrace(end_of_turn=(END,))
    for index in range(draw(st.integers(1, 5))):
        ended = draw(st.booleans())
        ids = [*draw(IDS), *([END] if ended else [])]
        logprobs = draw(st.lists(st.floats(-1e3, 0), min_size=len(ids), max_size=len(ids)))
        anew = draw(st.one_of(st.text(), st.just("\ud800"))) if index == 0 or draw(st.booleans()) else None
        trace.append(
            draw(IDS),
            ids,
            logprobs,
            finish_reason="stop" if ended else "length",
            stop_token=END if ended else None,
            new_segment=anew,
        )
    return trace


@given(traces())
def test_what_was_recorded_passes_and_reads_back_equal(trace: TokenTrace) -> None:
    assert problems(trace, 0.5) == []
    # As a file of trajectories has it.
    line = json.dumps(trace.to_json(), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    assert TokenTrace.from_json(json.loads(line)) == trace


@pytest.mark.parametrize("kind", ["id", "mask", "logprob", "both", "shorter", "turn"])
@given(trace=traces(), data=st.data())
def test_one_value_that_is_wrong_is_found(kind: str, trace: TokenTrace, data: st.DataObject) -> None:
    segment = data.draw(st.sampled_from(trace.segments))
    i = data.draw(st.integers(0, len(segment.tokens) - 1))
    if kind in ("id", "both"):
        other = data.draw(st.integers(-5, 200).filter(lambda token: token != segment.tokens[i]))
        segment.tokens[i] = other
        if kind == "both" and segment.masks[i] != IGNORED:
            segment.masks[i] = other
    elif kind == "mask":
        masks: st.SearchStrategy[Any] = st.sampled_from(
            [IGNORED, segment.tokens[i], 0, 1, True, False, float(segment.masks[i]), None]
        )
        segment.masks[i] = data.draw(masks.filter(lambda mask: repr(mask) != repr(segment.masks[i])))
    elif kind == "logprob":
        values = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.just(1.0))
        segment.logprobs[i] = data.draw(values.filter(lambda value: repr(value) != repr(segment.logprobs[i])))
    elif kind == "shorter":
        columns: list[list[Any]] = [segment.tokens, segment.masks, segment.logprobs]
        del data.draw(st.sampled_from(columns))[i]
    else:
        index = data.draw(st.integers(0, len(segment.turns) - 1))
        name = data.draw(st.sampled_from(["number", "begin", "sampled", "end"]))
        turn = segment.turns[index]
        value = data.draw(st.sampled_from([getattr(turn, name) - 1, getattr(turn, name) + 1, None, "1"]))
        segment.turns[index] = replace(turn, **{name: value})
    assert problems(trace, 0.5) != []


@pytest.mark.parametrize("logprob", [float("nan"), float("-inf"), 0.5, True])
def test_what_is_no_logprob_is_found_even_if_it_came_so(logprob: float) -> None:
    trace = TokenTrace()
    trace.append([1], [2, 3], [-0.1, logprob], finish_reason="stop", stop_token=None)
    assert problems(trace) == [f"segment 0: token 2 has the logprob {logprob!r}"]


@given(traces(), st.sampled_from([float("nan"), float("inf"), None, True, "1"]))
def test_a_score_is_a_finite_number(trace: TokenTrace, score: Any) -> None:
    assert problems(trace, score) == [f"the score is {score!r}, not a finite number"]


def test_a_turn_that_ends_twice_is_found() -> None:
    trace = TokenTrace(end_of_turn=(END,))
    trace.append([1], [2, END], [-0.1, -0.2], finish_reason="stop", stop_token=END)
    trace.append([END, 3], [4], [-0.3], finish_reason="length", stop_token=None)
    assert problems(trace) == [f"segment 0: turn 0 ends twice: {END} is followed by {END}"]
    sampled = TokenTrace(end_of_turn=(END,))
    sampled.append([1], [2, END, END], [-0.1, -0.2, -0.3], finish_reason="length", stop_token=None)
    assert problems(sampled) == [f"segment 0: turn 0 ends twice: {END} is followed by {END}"]


def test_nothing_sampled_is_nothing_to_train_on() -> None:
    assert problems(TokenTrace()) == ["nothing was sampled"]
    with pytest.raises(ValueError, match="not a token trace of version 1"):
        TokenTrace.from_json({"segments": []})
    broken = copy.deepcopy(TokenTrace().to_json())
    del broken["segments"]
    with pytest.raises(ValueError, match="incomplete"):
        TokenTrace.from_json(broken)

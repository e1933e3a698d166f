"""Completions put together from streams, however they are cut into chunks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.models.event_stream import BrokenStream, assemble, data_of, is_event_stream, lines_of


def stream(*chunks: Any, done: bool = True, end: str = "\n", before: str = "") -> str:
    """Return chunks as events; `before` is a line that comes before the data of each."""
    events = [json.dumps(chunk, ensure_ascii=False) for chunk in chunks] + ["[DONE]"] * done
    return "".join(f"{before}{end if before else ''}data: {event}{end}{end}" for event in events)


def read(text: str) -> dict[str, Any]:
    return assemble(data_of(lines_of(text)))


def delta(finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}


def call(index: int | None = 0, id: str | None = None, name: str | None = None, arguments: str = "") -> dict[str, Any]:
    part: dict[str, Any] = {"function": {"arguments": arguments, **({"name": name} if name else {})}}
    part |= {} if index is None else {"index": index}
    return part | ({} if id is None else {"id": id, "type": "function"})


def calls_of(completion: dict[str, Any]) -> list[tuple[Any, Any, Any]]:
    calls = completion["choices"][0]["message"]["tool_calls"]
    return [(one.get("id"), one["function"]["name"], one["function"]["arguments"]) for one in calls]


def test_text_calls_and_usage() -> None:
    completion = read(
        stream(
            {"id": "c1", "object": "chat.completion.chunk", "model": "m", **delta(role="assistant", content="")},
            delta(content="Let me "),
            delta(content="look."),
            delta(tool_calls=[call(0, "a", "terminal")]),
            delta(tool_calls=[call(0, arguments='{"command"')]),
            delta(tool_calls=[call(0, arguments=': "ls"}')]),
            delta("tool_calls"),
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        )
    )
    assert completion["object"] == "chat.completion"
    assert completion["usage"] == {"prompt_tokens": 3, "completion_tokens": 2}
    (choice,) = completion["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == "Let me look."
    assert calls_of(completion) == [("a", "terminal", '{"command": "ls"}')]


@pytest.mark.parametrize(
    "parts",
    [
        [call(0, "a", "f", "{"), call(0, arguments="}"), call(1, "b", "g", "{}")],
        # Without an index, with one that is the same for all, and with name and id in every chunk.
        [call(None, "a", "f", "{"), call(None, arguments="}"), call(None, "b", "g", "{}")],
        [call(0, "a", "f", "{}"), call(0, "b", "g", "{}")],
        [call(0, "a", "f", "{"), call(1, "b", "g", "{"), call(0, "a", "f", "}"), call(1, "b", "g", "}")],
    ],
)
def test_calls_are_told_apart_however_they_are_numbered(parts: list[dict[str, Any]]) -> None:
    completion = read(stream(*(delta(tool_calls=[part]) for part in parts), delta("tool_calls")))
    assert calls_of(completion) == [("a", "f", "{}"), ("b", "g", "{}")]


def test_fields_that_only_some_servers_have_are_put_together_too() -> None:
    signature = {"google": {"thought_signature": "c2ln"}}
    completion = read(
        stream(
            delta(reasoning_content="I th", reasoning_details=[{"index": 0, "type": "reasoning.text", "text": "a"}]),
            delta(reasoning_content="ink", reasoning_details=[{"index": 0, "type": "reasoning.text", "text": "b"}]),
            delta(reasoning_details=[{"index": 0, "signature": "s"}, {"index": 1, "data": "x"}]),
            delta(tool_calls=[{**call(0, "a", "f", "{}"), "extra_content": signature}]),
            delta("tool_calls"),
        )
    )
    message = completion["choices"][0]["message"]
    assert message["reasoning_content"] == "I think"
    assert message["reasoning_details"] == [
        {"index": 0, "type": "reasoning.text", "text": "ab", "signature": "s"},
        {"index": 1, "data": "x"},
    ]
    assert message["tool_calls"][0]["extra_content"] == signature


def test_an_error_in_the_stream_is_the_completion_s() -> None:
    text = stream(delta(content="I was"), done=False)
    text += 'event: error\ndata: {"error": {"message": "overloaded", "code": 503}}\n\n'
    assert read(text)["error"] == {"message": "overloaded", "code": 503}


@pytest.mark.parametrize("chunks", [[], [delta(content="I was")], [delta(tool_calls=[call(0, "a", "f", '{"x')])]])
def test_a_stream_that_breaks_off_is_no_answer(chunks: list[dict[str, Any]]) -> None:
    with pytest.raises(BrokenStream):
        read(stream(*chunks, done=False))


def test_an_answer_whose_end_is_said_is_whole_without_the_last_event() -> None:
    assert read(stream(delta("stop", content="Hi"), done=False))["choices"][0]["message"]["content"] == "Hi"


@pytest.mark.parametrize("event", ["{", "[]", "null", "7", "<html>"])
def test_an_event_that_is_no_object_is_not_understood(event: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(f"data: {event}\n\n")


def test_streams_are_known_by_how_they_begin() -> None:
    assert is_event_stream("data: {}\n\n")
    assert is_event_stream("\n: processing\n\ndata: {}\n\n")
    assert is_event_stream("event: error\ndata: {}\n\n")
    assert not is_event_stream('{"data": 1}')
    assert not is_event_stream("<html>data: 1</html>")
    assert not is_event_stream("")


pieces = st.lists(st.text(min_size=1, max_size=6), max_size=6)
#: Of calls: id, name and the arguments in pieces.
called = st.lists(st.tuples(st.uuids().map(str), st.text(min_size=1), pieces), max_size=3, unique_by=lambda one: one[0])


@given(
    pieces, pieces, called, st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(["", ": ping", "event: x", "id: 1"])
)
def test_however_an_answer_is_cut_it_comes_together_again(
    content: list[str], reasoning: list[str], calls: list[tuple[str, str, list[str]]], end: str, before: str
) -> None:
    parts = [delta(content=piece) for piece in content]
    parts += [delta(reasoning=piece) for piece in reasoning]
    for index, (id, name, arguments) in enumerate(calls):
        parts.append(delta(tool_calls=[call(index, id, name)]))
        parts += [delta(tool_calls=[call(index, arguments=piece)]) for piece in arguments]
    completion = read(stream(*parts, delta("stop"), end=end, before=before))
    message = completion["choices"][0]["message"]
    assert message.get("content") == ("".join(content) or None)
    assert message.get("reasoning") == ("".join(reasoning) or None)
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls", [])] == [
        (id, name, "".join(arguments)) for id, name, arguments in calls
    ]


names = st.sampled_from(["choices", "delta", "message", "tool_calls", "function", "index", "id", "content", "name"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
)


@given(st.lists(st.dictionaries(names, values, max_size=4) | values, max_size=4))
def test_any_stream_is_put_together_or_refused(chunks: list[Any]) -> None:
    try:
        completion = read(stream(*chunks))
    except ValueError:
        assert not all(isinstance(chunk, dict) for chunk in chunks)
        return
    assert isinstance(completion["choices"], list)

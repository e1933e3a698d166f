"""Completions as JSON and as objects, whoever made them."""

from __future__ import annotations

import copy
import json
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from pytest_hermes.models import completion
from pytest_hermes.models.completion import Completion, as_completion
from tests.services import model_server

ANSWER = model_server.completion("Hi", ("f", {"x": 1}), thinking_blocks=[{"type": "thinking", "thinking": "t"}])


def test_fields_are_attributes() -> None:
    answer = Completion(copy.deepcopy(ANSWER))
    call = answer.choices[0].message.tool_calls[0]
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == ("call_0", "f", {"x": 1})
    assert answer.usage.prompt_tokens == 100
    assert answer.choices[0].message.thinking_blocks[0].thinking == "t"
    # What the API may leave out is None, what no answer has is an error.
    assert answer.choices[0].message.refusal is None
    assert not hasattr(answer, "something")
    with pytest.raises(AttributeError, match="no field 'something'"):
        _ = answer.something


def test_it_stays_the_json_that_it_is() -> None:
    answer = Completion(copy.deepcopy(ANSWER))
    assert answer.choices[0].message.content == "Hi"
    answer.choices.append({"index": 1, "message": {"content": "Ho"}})
    assert [choice.message.content for choice in answer.choices] == ["Hi", "Ho"]
    assert answer.model_dump()["choices"][:1] == ANSWER["choices"]
    assert type(answer.model_dump()["choices"][0]) is dict
    assert copy.deepcopy(answer) == pickle.loads(pickle.dumps(answer)) == answer


def of_dataclass() -> Any:
    message = SimpleNamespace(content="Hi", tool_calls=None, reasoning_content="R")
    return SimpleNamespace(choices=[SimpleNamespace(message=message, finish_reason="stop")], usage=None)


class Slotted:
    __slots__ = ("choices",)

    def __init__(self) -> None:
        self.choices = [{"message": {"content": "Hi", "reasoning_content": "R"}, "finish_reason": "stop"}]


@pytest.mark.parametrize("answer", [of_dataclass(), Slotted(), completion.answer("Hi", reasoning="R")])
def test_any_object_of_the_shape_is_one(answer: Any) -> None:
    choice = as_completion(answer).choices[0]
    assert (choice.message.content, choice.message.reasoning_content, choice.finish_reason) == ("Hi", "R", "stop")


def test_objects_of_the_openai_package_keep_all_their_fields() -> None:
    theirs = ChatCompletion.model_validate(ANSWER)
    assert as_completion(theirs)["choices"][0]["message"]["thinking_blocks"] == [{"type": "thinking", "thinking": "t"}]
    assert as_completion(theirs)["usage"] == ANSWER["usage"]


def test_answers_of_this_process() -> None:
    assert completion.text("Hi").choices[0].finish_reason == "stop"
    reply = completion.call("c", "f", {"x": "ä"}).choices[0]
    assert reply.finish_reason == "tool_calls"
    assert reply.message.tool_calls == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": "ä"}'}}
    ]

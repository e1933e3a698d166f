"""What is read from an answer, what of it is recorded, and what is sent back."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_hermes.errors import STOP_REASONS
from pytest_hermes.rollout.answer import Answer, read_answer
from pytest_hermes.rollout.conversation import Conversation

TOOLS = {"terminal"}


def read(finish_reason: str | None = "stop", **message: Any) -> Answer:
    return read_answer({"choices": [{"message": message, "finish_reason": finish_reason}]})


def call(name: Any = "terminal", arguments: Any = "{}", **more: Any) -> dict[str, Any]:
    return {"id": "a", "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def sent(**message: Any) -> dict[str, Any]:
    return read(**message).sendable(TOOLS)


class TestWhatIsKept:
    @pytest.mark.parametrize(
        "field",
        [
            {"thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "s"}]},
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
            {"extra_content": {"google": {"thought": True}}},
            {"reasoning_content": ""},
            {"provider_specific_fields": {"citations": []}},
            {"refusal": "I cannot do that."},
        ],
    )
    def test_fields_of_messages(self, field: dict[str, Any]) -> None:
        for message in (read(content="Hi", **field).message, sent(content="Hi", **field)):
            assert message == {"role": "assistant", "content": "Hi", **field}

    def test_fields_of_calls(self) -> None:
        signature = {"google": {"thought_signature": "c2ln"}}
        given = call(extra_content=signature)
        given["function"]["thought"] = "t"
        for message in (read(tool_calls=[given]).message, sent(tool_calls=[given])):
            assert message["tool_calls"] == [given]

    def test_what_is_null_is_left_out(self) -> None:
        message = {"content": "Hi", "reasoning_content": None, "tool_calls": None, "function_call": None}
        assert sent(**message) == {"role": "assistant", "content": "Hi"}
        assert sent(content=None, tool_calls=[call(extra_content=None)]) == {
            "role": "assistant",
            "content": None,
            "tool_calls": [call()],
        }

    def test_no_calls_are_no_list(self) -> None:
        """OpenAI refuses an empty one."""
        assert "tool_calls" not in sent(content="Hi", tool_calls=[])


class TestCalls:
    def test_arguments_as_an_object(self) -> None:
        answer = read(tool_calls=[call(arguments={"command": "ls ä"})])
        assert answer.calls[0].arguments == '{"command": "ls ä"}'
        assert answer.sendable(TOOLS)["tool_calls"][0]["function"]["arguments"] == '{"command": "ls ä"}'

    @pytest.mark.parametrize("arguments", ['{"a": ', "", "[]", "null", '"{}"'])
    def test_arguments_that_are_no_object_travel_in_one(self, arguments: str) -> None:
        answer = read(tool_calls=[call(arguments=arguments)])
        assert answer.message["tool_calls"][0]["function"]["arguments"] == arguments
        back = answer.sendable(TOOLS)["tool_calls"][0]["function"]["arguments"]
        assert json.loads(back) == {"invalid_json": arguments}

    @pytest.mark.parametrize(
        ("name", "spelled"),
        [
            ("terminal<|channel|>json", "terminal_channel_json"),
            ("", "_"),
            ("$READFILE", "_READFILE"),
            ("功能", "_"),
            ("1st", "_1st"),
            ("a b.c", "a_b_c"),
            ("x" * 99, "x" * 64),
            ("unknown-but-valid_1", "unknown-but-valid_1"),
        ],
    )
    def test_names_are_recorded_as_written_and_sent_so_that_they_pass(self, name: str, spelled: str) -> None:
        answer = read(tool_calls=[call(name)])
        assert answer.calls[0].name == name
        assert answer.message["tool_calls"][0]["function"]["name"] == name
        assert answer.sendable(TOOLS)["tool_calls"][0]["function"]["name"] == spelled

    def test_names_that_the_endpoint_was_given_are_its_own(self) -> None:
        answer = read(tool_calls=[call("files.read")])
        assert answer.sendable({"files.read"})["tool_calls"][0]["function"]["name"] == "files.read"

    def test_the_earlier_form_of_a_call(self) -> None:
        answer = read("function_call", content=None, function_call={"name": "terminal", "arguments": "{}"})
        (only,) = answer.calls
        assert (only.name, only.arguments) == ("terminal", "{}")
        message = answer.sendable(TOOLS)
        assert "function_call" not in message
        assert message["tool_calls"] == [{**call(), "id": only.id}]

    def test_what_is_no_call_is_passed_over(self) -> None:
        assert read(content="Hi", tool_calls=[None, "x"]).calls == []
        assert read(content="Hi", tool_calls={"a": 1}, function_call="f").calls == []
        (only,) = read(tool_calls=[{"function": None}]).calls
        assert (only.name, only.arguments) == ("", "")

    @pytest.mark.parametrize("ids", [[None, None], ["", ""], ["a", "a"], ["a", "b"], [7, 7]])
    def test_ids_are_unique_in_a_conversation(self, ids: list[Any]) -> None:
        """Anthropic refuses a conversation in which two are the same."""
        conversation = Conversation([], TOOLS, verbatim=False)
        for _ in range(3):
            message = {"tool_calls": [{**call(), "id": id} for id in ids]}
            answer = read_answer({"choices": [{"message": message}]}, conversation.call_ids)
            conversation.add_answer(answer)
            for one in answer.calls:
                conversation.add_result(one, "done")
        call_ids = [one["id"] for message in conversation.request() for one in message.get("tool_calls", ())]
        answered = [message["tool_call_id"] for message in conversation.request() if message["role"] == "tool"]
        assert len(set(call_ids)) == 6
        assert call_ids == answered
        made = set(call_ids) - {"a", "b"}
        # Mistral takes no others.
        assert all(re.fullmatch("[a-zA-Z0-9]{9}", one) for one in made)
        assert call_ids[0] == (ids[0] if ids[0] == "a" else "call00000")

    def test_ids_that_a_conversation_begins_with_are_taken(self) -> None:
        conversation = Conversation([{"role": "assistant", "tool_calls": [call()]}], TOOLS, verbatim=False)
        answer = read_answer({"choices": [{"message": {"tool_calls": [call()]}}]}, conversation.call_ids)
        assert answer.calls[0].id != "a"


class TestWhyItEnds:
    @pytest.mark.parametrize(
        ("finish_reason", "message", "stop_reason"),
        [
            ("stop", {"content": "Done."}, "finished"),
            (None, {"content": "Done."}, "finished"),
            ("eos", {"content": "Done."}, "finished"),
            ("stop", {"content": [{"type": "text", "text": "Done."}]}, "finished"),
            ("stop", {"content": None}, "empty"),
            ("stop", {"content": " \n"}, "empty"),
            ("stop", {"content": [{"type": "thinking", "thinking": "x"}]}, "empty"),
            ("stop", {"content": None, "reasoning_content": "I think"}, "empty"),
            ("length", {"content": "I was"}, "length"),
            ("length", {"content": None}, "length"),
            ("max_tokens", {"content": "I was"}, "length"),
            ("model_context_window_exceeded", {"content": "I was"}, "context"),
            ("content_filter", {"content": ""}, "filtered"),
            ("content_filter", {"content": "I was"}, "filtered"),
            ("FinishReason.SAFETY", {"content": None}, "filtered"),
            ("sensitive", {"content": None}, "filtered"),
            ("malformed_function_call", {"content": None}, "malformed"),
            ("MALFORMED_FUNCTION_CALL", {"content": "Let me"}, "malformed"),
            ("tool_calls", {"content": "Let me"}, "malformed"),
            ("stop", {"content": None, "refusal": "I cannot."}, "refused"),
            ("content_filter", {"content": None, "refusal": "I cannot."}, "refused"),
            ("refusal", {"content": ""}, "refused"),
            ("error", {"content": "I was"}, "fault"),
        ],
    )
    def test_without_calls(self, finish_reason: str | None, message: dict[str, Any], stop_reason: str) -> None:
        assert read(finish_reason, **message).stop_reason == stop_reason
        assert stop_reason in {*STOP_REASONS, "fault"}


class TestHalfACharacter:
    def test_in_all_texts_of_an_answer(self) -> None:
        answer = read(
            content="broken \ud83d",
            reasoning_content="r\ud83d",
            tool_calls=[call("f\ud83d", '{"command": "\ud83d"}', extra_content="e\ud83d")],
        )
        assert answer.message["content"] == "broken \\ud83d"
        assert answer.reasoning == "r\\ud83d"
        assert (answer.calls[0].name, answer.calls[0].arguments) == ("f\\ud83d", '{"command": "\\ud83d"}')
        message = answer.sendable(TOOLS)
        assert message["content"] == "broken \ufffd"
        assert message["reasoning_content"] == "r\ufffd"
        assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"command": "\ufffd"}

    def test_in_prompts_and_results(self) -> None:
        conversation = Conversation([{"role": "user", "content": "p\ud83d"}], TOOLS, verbatim=False)
        answer = read(tool_calls=[call()])
        conversation.add_answer(answer)
        conversation.add_result(answer.calls[0], "o\ud83d")
        assert [message["content"] for message in conversation.request()] == ["p\ufffd", None, "o\ufffd"]
        assert [message["content"] for message in conversation.recorded] == ["p\\ud83d", None, "o\\ud83d"]


texts = st.text(st.characters(), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
)
functions = st.fixed_dictionaries({}, optional={"name": values, "arguments": values})
calls = st.fixed_dictionaries({}, optional={"id": values, "type": values, "function": functions | values, "x": values})
messages = st.fixed_dictionaries(
    {},
    optional={
        "content": values,
        "role": values,
        "refusal": values,
        "reasoning_details": values,
        "tool_calls": st.lists(calls | values, max_size=3) | values,
        "function_call": functions | values,
        "x": values,
    },
)


@settings(max_examples=60)
@given(messages, values)
def test_whatever_an_answer_holds_it_can_be_recorded_and_sent(message: dict[str, Any], finish_reason: Any) -> None:
    answer = read_answer({"choices": [{"message": message, "finish_reason": finish_reason}]})
    assert answer.stop_reason in {*STOP_REASONS, "fault"}
    for form in (answer.message, answer.sendable(TOOLS)):
        json.dumps(form, ensure_ascii=False, allow_nan=False).encode()
        assert form["role"] == "assistant"
    for one in answer.sendable(TOOLS).get("tool_calls", ()):
        assert re.fullmatch("[a-zA-Z_][a-zA-Z0-9_-]{0,63}", one["function"]["name"])
        assert isinstance(json.loads(one["function"]["arguments"]), dict)

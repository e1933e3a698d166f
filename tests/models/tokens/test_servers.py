"""The three dialects, and what servers may tell that is no answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_hermes.errors import InfrastructureError, UsageError
from pytest_hermes.models.protocol import ContextWindowExceeded
from pytest_hermes.models.tokens.certificate import problems
from tests.services.chat_families import FAMILIES

ASKED: list[dict[str, Any]] = [{"role": "user", "content": "Go."}]
TOOLS = [{"type": "function", "function": {"name": "terminal", "parameters": {}}}]


async def ask(source: Any, **parameters: Any) -> Any:
    model = source.for_task()
    try:
        answer = await model.chat_completion(messages=ASKED, **parameters)
        return model, answer.choices[0]
    finally:
        await source.close()


@pytest.mark.parametrize("dialect", ["vllm_generate", "sglang", "completions"])
async def test_a_dialect_is_detected_and_an_answer_cut_off_stays_cut_off(
    dialect: str, serving: Callable[..., Any]
) -> None:
    server, source = serving("qwen", dialect, extra_body={"top_p": 0.9})
    server.script = lambda prompt: FAMILIES["qwen"].calls[0]
    model, choice = await ask(source, tools=TOOLS, max_tokens=9, temperature=0.5, extra_body={"top_p": 0.9})
    assert choice.finish_reason == "length"
    assert choice.message.tool_calls is None
    assert choice.message.reasoning_content == "I could"
    assert problems(model.trace) == []
    assert model.trace.segments[0].logprobs[-9:] == server.emitted[0].logprobs
    body = server.emitted[0].body
    sampling = body["sampling_params"] if dialect == "sglang" else body
    stops = source.settings.load_tokenizer().convert_tokens_to_ids(["<|im_end|>"])
    assert (sampling["temperature"], sampling["top_p"], sampling["stop_token_ids"]) == (0.5, 0.9, stops)
    assert server.refused == []


@pytest.mark.parametrize(
    ("dialect", "key", "said"),
    [
        ("vllm_generate", "top_pp", "unknown parameter 'top_pp'; did you mean 'top_p'?"),
        ("sglang", "min_tokens", "did you mean 'min_new_tokens'?"),
        ("completions", "truncate_prompt_tokens", "unknown parameter 'truncate_prompt_tokens'"),
    ],
)
async def test_what_a_server_would_not_take_is_told_before_it_is_asked(
    dialect: str, key: str, said: str, serving: Callable[..., Any]
) -> None:
    server, source = serving("chatml", dialect, extra_body={key: 1})
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        await source.prepare()
    await source.close()
    assert server.emitted == []


async def test_an_unknown_format_is_told(serving: Callable[..., Any]) -> None:
    _, source = serving("chatml", tool_call_parser="hermess")
    with pytest.raises(UsageError, match=r"unknown format 'hermess'; did you mean 'hermes'\?"):
        await source.prepare()
    await source.close()


def shorter(answer: Any) -> Any:
    answer["choices"][0]["logprobs"]["token_logprobs"].pop()
    return answer


def not_a_number(answer: Any) -> Any:
    answer["choices"][0]["logprobs"]["token_logprobs"][1] = float("nan")
    return answer


def other_prompt(answer: Any) -> Any:
    answer["choices"][0]["prompt_token_ids"] = [1, 2]
    return answer


def no_ids(answer: Any) -> Any:
    del answer["choices"][0]["token_ids"]
    return answer


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shorter, "the server told 5 logprobs of 6 sampled tokens"),
        (not_a_number, "sampled token 1 has the logprob nan"),
        (other_prompt, "sampled after 2 others"),
        (no_ids, "tells no token ids"),
        (lambda answer: {"error": "busy"}, "not that of a completions server .*: check openai.token_protocol"),
    ],
)
async def test_what_does_not_tell_what_was_sampled_is_refused(
    spoil: Any, said: str, serving: Callable[..., Any]
) -> None:
    server, source = serving("chatml")
    server.script = lambda prompt: "Done.<|im_end|>"
    server.spoil = spoil
    with pytest.raises(InfrastructureError, match=said) as raised:
        await ask(source)
    assert raised.value.kind == "tokens"


async def test_a_sequence_never_has_more_tokens_than_it_may(serving: Callable[..., Any]) -> None:
    longest = 0
    server, source = serving("chatml", longest=lambda: longest)
    server.script = lambda prompt: "Done.<|im_end|>"
    longest = len(
        source.settings.load_tokenizer()("<|im_start|>user\nGo.<|im_end|>\n<|im_start|>assistant\n").input_ids
    )
    longest += 3
    model, choice = await ask(source, max_tokens=100)
    assert choice.finish_reason == "length"
    assert len(model.trace.segments[0].tokens) == longest
    longest -= 3
    with pytest.raises(ContextWindowExceeded):
        await ask(source)


async def test_a_changed_history_begins_a_segment(serving: Callable[..., Any]) -> None:
    server, source = serving("chatml")
    server.script = lambda prompt: "Yes.<|im_end|>"
    model = source.for_task()
    first: list[dict[str, Any]] = [*ASKED, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "b"}]
    for messages, tools in (
        (ASKED, TOOLS),
        (first, TOOLS),
        ([first[0], {"role": "assistant", "content": "No."}, first[2]], TOOLS),
        ([first[2]], TOOLS),
        ([first[2], first[1], first[2]], [*TOOLS, *TOOLS]),
    ):
        await model.chat_completion(messages=messages, tools=tools)
    await source.close()
    assert [segment.why for segment in model.trace.segments] == [
        "the conversation begins",
        "message 1 is another one than it was",
        "message 0 is another one than it was",
        "there are other tools",
    ]
    assert [len(segment.turns) for segment in model.trace.segments] == [2, 1, 1, 1]
    assert problems(model.trace) == []
    assert [one.ids for one in server.emitted] == [
        segment.tokens[turn.sampled : turn.end] for segment in model.trace.segments for turn in segment.turns
    ]

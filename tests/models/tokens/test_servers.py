"""The three dialects, and what servers may tell that is no answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_hermes.errors import FatalError, InfrastructureError, UsageError
from pytest_hermes.models.endpoint import Endpoint
from pytest_hermes.models.keys import Address
from pytest_hermes.models.protocol import ContextWindowExceeded
from pytest_hermes.models.retry import RetryPolicy
from pytest_hermes.models.tokens.model import TokenSource
from pytest_hermes.models.tokens.trace_validation import problems
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
    ("dialect", "key", "problem"),
    [
        ("vllm_generate", "top_pp", "unknown parameter 'top_pp'; did you mean 'top_p'?"),
        ("vllm_generate", "logit_bias", "unknown parameter 'logit_bias'"),
        ("sglang", "min_tokens", "did you mean 'min_new_tokens'?"),
        ("completions", "truncate_prompt_tokens", "unknown parameter 'truncate_prompt_tokens'"),
    ],
)
async def test_what_a_server_would_not_take_is_told_before_it_is_asked(
    dialect: str, key: str, problem: str, serving: Callable[..., Any]
) -> None:
    server, source = serving("chatml", dialect, extra_body={key: 1})
    with pytest.raises(UsageError, match=problem.replace("?", r"\?")):
        await source.prepare()
    await source.close()
    assert server.emitted == []


async def test_an_address_without_v1_will_do(serving: Callable[..., Any]) -> None:
    server, source = serving("chatml")
    server.script = lambda prompt: "Done.<|im_end|>"
    endpoint = Endpoint("m", Address(server.url.removesuffix("/v1"), None))
    _, choice = await ask(TokenSource(endpoint, source.settings))
    assert choice.message.content == "Done."


async def test_a_wrong_protocol_is_told(serving: Callable[..., Any]) -> None:
    server, source = serving("chatml", protocol="vllm_generate")
    with pytest.raises(FatalError, match=r"/generate does not exist.*404.*openai\.token_protocol \(vllm_generate\)"):
        await ask(source)
    assert server.refused == ["/generate"]


async def test_a_tokenizer_of_another_model_is_told(
    serving: Callable[..., Any], tokenizer_of: Callable[[str], Any]
) -> None:
    _, source = serving("chatml", load_tokenizer=lambda: tokenizer_of("mistral"))
    with pytest.raises(UsageError, match=r"is not that of the server's model: .* 'The quick .* env\.tokenizer_name"):
        await source.prepare()
    await source.close()


async def test_an_unknown_format_is_told(serving: Callable[..., Any]) -> None:
    _, source = serving("chatml", tool_call_parser="hermess")
    with pytest.raises(UsageError, match=r"unknown format 'hermess'; did you mean 'hermes'\?"):
        await source.prepare()
    await source.close()


def logprob_of(value: Any) -> Any:
    """Tell another logprob of the second token, in whichever dialect; `...`: none."""

    def spoil(answer: Any) -> Any:
        if "meta_info" in answer:
            told: Any = answer["meta_info"]["output_token_logprobs"]
            other: Any = [value, told[1][1], None]
        elif "choices" in answer:
            told, other = answer["choices"][0]["logprobs"]["token_logprobs"], value
        else:
            told = answer["logprobs"][0]
            answer["token_ids"] = [[int(next(iter(entry[0]))) for entry in told]]
            other = [{next(iter(told[1][0])): value}]
        told[1:2] = [] if value is ... else [other]
        return answer

    return spoil


@pytest.mark.parametrize("dialect", ["vllm_generate", "sglang", "completions"])
async def test_nothing_is_filled_up_that_a_server_does_not_tell(dialect: str, serving: Callable[..., Any]) -> None:
    for value, problem in (
        (..., "5 logprobs"),
        (None, "sampled token 1 has the logprob None"),
        (float("nan"), "the logprob nan"),
        (float("-inf"), "the logprob -inf"),
    ):
        server, source = serving("chatml", dialect)
        server.script = lambda prompt: "Done.<|im_end|>"
        server.spoil = logprob_of(value)
        with pytest.raises(InfrastructureError, match=problem) as raised:
            await ask(source)
        assert raised.value.kind == "tokens"


async def test_logprobs_of_more_than_was_sampled_are_refused(serving: Callable[..., Any]) -> None:
    server, source = serving("chatml", "vllm_generate")
    server.script = lambda prompt: "Done.<|im_end|>"

    def fewer_ids(answer: Any) -> Any:
        ids = [int(next(iter(entry[0]))) for entry in answer["logprobs"][0]]
        return {**answer, "token_ids": [ids[:-1]]}

    server.spoil = fewer_ids
    with pytest.raises(InfrastructureError, match="6 logprobs for 5 sampled tokens"):
        await ask(source)


async def test_what_is_said_beside_extra_body_is_obeyed_or_refused(serving: Callable[..., Any]) -> None:
    server, source = serving("chatml", "sglang", extra_body={"stop_token_ids": [5]})
    server.script = lambda prompt: "Done.<|im_end|>"
    await ask(source, top_p=0.5, stop=["\n"], extra_body={"stop_token_ids": [7]})
    sampling = server.emitted[0].body["sampling_params"]
    assert (sampling["top_p"], sampling["stop"], 7 in sampling["stop_token_ids"]) == (0.5, ["\n"], True)
    for wrong in (
        {"top_pp": 0.5},
        {"stop_token_ids": 5},
        {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
    ):
        with pytest.raises(UsageError, match=r"top_p'|must be a list of token ids, not 5|env\.extra_body"):
            await ask(source, **wrong)
    assert len(server.emitted) == 1


#: For each dialect: paths in an answer, a wrong value for each, and the message about it.
WRONG: dict[str, list[tuple[tuple[str | int, ...], Any, str]]] = {
    "completions": [
        (("choices", 0, "prompt_token_ids"), [1, 2], "reports 2 others"),
        (("choices", 0, "prompt_token_ids"), 2, "reports no others"),
        (("choices", 0, "finish_reason"), "abort", r"aborted the answer \(finish_reason abort\)"),
        (("choices", 0, "finish_reason"), 1, r"aborted the answer \(finish_reason 1\)"),
        (("choices", 0, "token_ids"), None, "returns no token ids"),
        (("choices", 0, "token_ids", 0), 2**70, "token 1180591620717411303424, which the tokenizer does not have"),
        (("choices", 0, "token_ids", 0), 5000, r"token 5000, which the tokenizer does not .* env\.tokenizer_name "),
        (("choices",), [], "not that of a completions server .*: check openai.token_protocol"),
    ],
    "sglang": [
        (("meta_info", "prompt_tokens"), 7, r"was sent \d+ prompt tokens but used 7 of them"),
        (("meta_info",), None, "not that of a sglang server"),
    ],
    "vllm_generate": [
        (("prompt_token_ids",), True, "reports no others"),
        (("logprobs", 0, 0, 0), {"5": -0.1, "6": -0.2}, "not that of a vllm_generate server"),
        (("finish_reasons",), [None], "aborted the answer"),
    ],
}


@pytest.mark.parametrize("dialect", WRONG)
async def test_what_does_not_tell_what_was_sampled_is_refused(dialect: str, serving: Callable[..., Any]) -> None:
    server, source = serving("chatml", dialect)
    server.script = lambda prompt: "Done.<|im_end|>"
    for path, value, problem in WRONG[dialect]:

        def spoil(answer: Any, path: Any = path, value: Any = value) -> Any:
            inner = answer
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
            return answer

        server.spoil = spoil
        with pytest.raises(InfrastructureError, match=problem) as raised:
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


async def test_a_server_that_fails_by_what_is_too_long_is_told_from_one_that_fails(serving: Callable[..., Any]) -> None:
    server, source = serving("chatml", "vllm_generate", extra_body={"min_tokens": 2})
    source.endpoint._patience.policy = RetryPolicy(tries=3, base=0.01)
    server.script = lambda prompt: "Done.<|im_end|>"
    model = source.for_task()
    asked = [*ASKED]
    await model.chat_completion(messages=asked)
    prompt = len(server.emitted[0].prompt)
    asked += [{"role": "assistant", "content": "Done."}, {"role": "user", "content": "Go on. " * 3 * prompt}]
    server.longest = prompt
    with pytest.raises(ContextWindowExceeded, match=r"\d+ tokens: the server accepts each part of them"):
        await model.chat_completion(messages=asked)
    whole = [token for one in server.emitted[1:] for token in one.prompt]
    assert all("min_tokens" not in one.body for one in server.emitted[1:])
    assert server.failed > 2
    server.longest, before = None, server.failed
    # A fault that passes is waited out, as ever, whether it lasts for a request or more.
    for failing in (1, len(whole).bit_length() + 1):
        server.failing = failing
        await model.chat_completion(messages=asked)
        assert (server.emitted[-1].prompt, server.failing) == (whole, 0)
    # One that does not is a fault of the server.
    server.failing = 1000
    with pytest.raises(InfrastructureError, match=r"answered 500: .* \(3 tries\)"):
        await model.chat_completion(messages=asked)
    assert server.failed < before + 50
    assert [turn.number for turn in model.trace.turns] == [0]
    await source.close()


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
        "message 1 was changed",
        "message 0 was changed",
        "the tools changed",
    ]
    assert [len(segment.turns) for segment in model.trace.segments] == [2, 1, 1, 1]
    assert problems(model.trace) == []
    assert [one.ids for one in server.emitted] == [
        segment.tokens[turn.sampled : turn.end] for segment in model.trace.segments for turn in segment.turns
    ]

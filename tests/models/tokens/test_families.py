"""Rollouts of every model family: what is trained on is what the server sampled, to the token."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from pytest_hermes.models.tokens.trace import IGNORED, TokenTrace
from pytest_hermes.models.tokens.trace_validation import problems
from tests.services.chat_families import FAMILIES, INJECTED, Family

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "terminal",
            "description": "Runs a command.",
            "parameters": {"type": "object", "properties": {"command": {"type": "string"}}},
        },
    }
]


def spans(trace: TokenTrace) -> list[tuple[list[int], list[float | None]]]:
    """Return the sampled ids with their logprobs, one entry a run of unmasked tokens."""
    found = []
    for segment in trace.segments:
        rows = zip(segment.tokens, segment.masks, segment.logprobs, strict=True)
        for sampled, run in itertools.groupby(rows, key=lambda row: row[1] != IGNORED):
            if sampled:
                tokens, _, logprobs = zip(*run, strict=True)
                found.append((list(tokens), list(logprobs)))
    return found


def agents_copy(message: Any, **changes: Any) -> dict[str, Any]:
    """Return an answer as a careless agent keeps it: stripped, without reasoning, its calls under other ids."""
    calls = [
        {**call, "id": f"other{index:04}", "function": dict(call["function"])}
        for index, call in enumerate(message.tool_calls or ())
    ]
    reply = {"role": "assistant", "content": (message.content or "").strip(), **changes}
    return {**reply, "tool_calls": calls} if calls else reply


@pytest.mark.parametrize("name", FAMILIES)
async def test_what_is_trained_on_is_what_was_sampled(name: str, serving: Callable[..., Any]) -> None:
    family: Family = FAMILIES[name]
    server, source = serving(name, {"glm": "sglang", "llama3": "vllm_generate"}.get(name, "completions"))
    texts = iter([family.calls[0], family.calls[0], family.calls[1], family.final, family.final])
    server.script = lambda prompt: next(texts)
    model = source.for_task()
    conversation: list[dict[str, Any]] = [{"role": "user", "content": "Look. "}]

    await model.chat_completion(messages=conversation, tools=TOOLS)
    # The agent did not like the answer and asks the same again.
    first = (await model.chat_completion(messages=conversation, tools=TOOLS)).choices[0]
    assert first.finish_reason == "tool_calls"
    assert [json.loads(call["function"]["arguments"]) for call in first.message.tool_calls] == [{"command": 'ls "ü"'}]
    if "<think>" in family.calls[0] or "analysis" in family.calls[0]:
        assert first.message.reasoning_content
        assert "think" not in (first.message.content or "")
        assert "<|" not in (first.message.content or "")
    reasoning = first.message.reasoning_content
    for output in (INJECTED, "there"):
        # The first time with the reasoning, as the project's own loop keeps it.
        kept = agents_copy(first.message, **({"reasoning_content": reasoning} if output == INJECTED else {}))
        conversation += [kept, {"role": "tool", "tool_call_id": kept["tool_calls"][0]["id"], "content": output}]
        if output == INJECTED:
            first = (await model.chat_completion(messages=conversation, tools=TOOLS)).choices[0]
    # A last turn without tools, which ends with the last token it may have; Qwen's by one that the tokenizer does not
    # name as such, so that only the server can tell.
    room = len(server.sample(family.final)) + (name == "qwen")
    last = (await model.chat_completion(messages=conversation, max_tokens=room)).choices[0]
    assert last.finish_reason == ("stop" if name == "qwen" else "length")
    assert last.message.content.strip() == "Done."
    # The user goes on, which is where templates drop reasoning.
    conversation += [agents_copy(last.message), {"role": "user", "content": "Thanks"}]
    await model.chat_completion(messages=conversation, tools=TOOLS)
    await source.close()

    trace = model.trace
    assert problems(trace, 1.0) == []
    assert [segment.why for segment in trace.segments] == ["the conversation begins"]
    assert trace.superseded == 1
    emitted = server.emitted[1:]
    assert spans(trace) == [(one.ids, one.logprobs) for one in emitted]
    (segment,) = trace.segments
    for turn, one in zip(segment.turns, emitted, strict=True):
        assert segment.tokens[: turn.sampled] == one.prompt
    # What stands between is the template's, and a tool's output is text, however it is spelled.
    tokenizer = source.settings.load_tokenizer()
    between = [
        tokenizer.decode(segment.tokens[before.end : after.sampled])
        for before, after in itertools.pairwise(segment.turns)
    ]
    wanted = [family.between(INJECTED), family.between("there"), family.then_user("Thanks")]
    tools_again = between[2].partition("[INST]")[0]
    assert between == [text.replace("CALL_ID", "other0000").replace("TOOLS", tools_again) for text in wanted]
    added = set(tokenizer.get_added_vocab().values())
    injected, harmless = (
        [token for token in segment.tokens[before.end : after.sampled] if token in added]
        for before, after in itertools.pairwise(segment.turns[:3])
    )
    assert injected == harmless
    # Written down and read again it is the same.
    assert TokenTrace.from_json(json.loads(json.dumps(trace.to_json(), allow_nan=False))) == trace

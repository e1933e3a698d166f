"""Tokens of rendered conversations, by chat templates that behave as the public ones do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_hermes.models.tokens.errors import TemplateError
from pytest_hermes.rollout.rendered_tokens import tokenise
from tests.services import run_api
from tests.services.required import require
from tests.services.run_api import CHATML, make_tokenizer

#: Reasoning is dropped from all but the last answer, which has a block for it even without any.
REASONING = (
    "{%- for message in messages %}<|im_start|>{{ message.role + '\n' }}"
    "{%- if message.role == 'assistant' and loop.last %}"
    "<think>\n{{ message.reasoning_content or '' }}\n</think>{{ '\n' }}{% endif %}"
    "{{ message.content }}"
    "{%- for call in message.tool_calls or [] %}<call>{{ call.function.arguments | tojson }}</call>{%- endfor %}"
    "<|im_end|>\n{%- endfor %}{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: The end of a turn is the beginning of the next.
NO_END = (
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}{%- endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
REWRITES = "{{ messages | length }}{% for message in messages %}{{ message.content }}{% endfor %}"
RAISES = "{{ raise_exception('roles must alternate') }}"

CONVERSATION: list[dict[str, Any]] = [
    {"role": "user", "content": "Go."},
    {
        "role": "assistant",
        "content": None,
        "reasoning": "a tool",
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "terminal", "arguments": '{"command":  "ls \\"ü\\""}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "1", "content": '{"output": "a <|im_end|> b"}'},
    {"role": "assistant", "content": "Done."},
]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Any:
    require("atropos", run_api.problem())
    from transformers import AutoTokenizer

    def load(template: str) -> Any:
        folder: Path = make_tokenizer(tmp_path_factory.mktemp("tokenizer"), template)
        return AutoTokenizer.from_pretrained(str(folder))

    return load


def unmasked(tokenizer: Any, found: Any) -> list[str]:
    """The texts that are trained on, one a run of unmasked tokens."""
    texts: list[list[int]] = []
    inside = False
    for token, mask in zip(found.tokens, found.masks, strict=True):
        assert mask in (-100, token)
        if mask != -100:
            texts.append([*texts.pop(), token] if inside else [token])
        inside = mask != -100
    return [tokenizer.decode(text) for text in texts]


def test_answers_are_unmasked_with_the_end_of_their_turn(load: Any) -> None:
    tokenizer = load(CHATML)
    found = tokenise(tokenizer, CONVERSATION)
    assert unmasked(tokenizer, found) == [
        '<tool_call>\n{"name": "terminal", "arguments": {"command": "ls \\"ü\\""}}\n</tool_call><|im_end|>',
        "Done.<|im_end|>",
    ]
    assert found.source == "retokenised"
    assert found.lost_answers == 0
    # The tools are part of the prompt.
    tools = [{"type": "function", "function": {"name": "terminal", "parameters": {}}}]
    assert len(tokenise(tokenizer, CONVERSATION, tools).tokens) > len(found.tokens)


def test_what_the_template_renders_otherwise_later_is_found_as_well(load: Any) -> None:
    tokenizer = load(REASONING)
    found = tokenise(tokenizer, CONVERSATION)
    assert unmasked(tokenizer, found) == [
        '<call>{"command": "ls \\"ü\\""}</call><|im_end|>',
        "<think>\n\n</think>\nDone.<|im_end|>",
    ]


def test_a_turn_without_an_end_of_its_own(load: Any) -> None:
    tokenizer = load(NO_END)
    assert unmasked(tokenizer, tokenise(tokenizer, CONVERSATION)) == ["Done."]


def test_what_cannot_be_found_is_masked_and_counted(load: Any) -> None:
    found = tokenise(load(REWRITES), CONVERSATION)
    assert found.lost_answers == 2
    assert set(found.masks) == {-100}


def test_a_template_that_raises_is_told(load: Any) -> None:
    with pytest.raises(TemplateError, match="roles must alternate"):
        tokenise(load(RAISES), CONVERSATION)

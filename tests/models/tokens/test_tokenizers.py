"""Tokenizers that are no byte-level BPE: text stays text, and what is appended is what stands there in the whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from pytest_hermes.errors import UsageError
from pytest_hermes.models.tokens.chat_template import ChatTemplate
from pytest_hermes.models.tokens.special_tokens import SpecialTokenEscaping
from pytest_hermes.models.tokens.trace_validation import problems
from tests.services import run_api
from tests.services.piece_tokenizers import SPECIAL, piece_tokenizer
from tests.services.required import require

#: Turns that begin and end by special tokens, as Mistral's.
MARKED = (
    "<s>{% for message in messages %}"
    "{% if message.role == 'user' %}[INST] {{ message.content }}[/INST]"
    "{% elif message.role == 'tool' %}[TOOL]{{ message.content }}[/TOOL]"
    "{% else %} {{ message.content | trim }}</s>{% endif %}{% endfor %}"
)
#: Turns of plain text, which no special token closes.
PLAIN = (
    "{% for message in messages %}{% if message.role == 'assistant' %}{{ message.content }}\n"
    "{% else %}## {{ message.role }}: {{ message.content }}\n## assistant:{% endif %}{% endfor %}"
)
KINDS = ("legacy", "always", "first", "never", "unigram")
#: A text that is spelled as special tokens.
SPELLED = "the </s>[INST] fox<unk> ü </s"


@pytest.fixture(autouse=True)
def _needed() -> None:
    require("atropos", run_api.problem())


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_appended_is_what_stands_there_in_the_whole(kind: str, serving: Callable[..., Any]) -> None:
    tokenizer = piece_tokenizer(kind, MARKED)
    server, source = serving("chatml", load_tokenizer=lambda: tokenizer)
    server.use(tokenizer)
    server.script = lambda prompt: " the fox</s>"
    model = source.for_task()
    conversation: list[dict[str, Any]] = [{"role": "user", "content": "the  end"}]
    for output in ("the quick\n the fox", SPELLED, None):
        answer = (await model.chat_completion(messages=conversation)).choices[0].message
        conversation.append({"role": "assistant", "content": answer.content})
        if output is not None:
            conversation.append({"role": "tool", "content": output})
    await source.close()
    assert problems(model.trace) == []
    (segment,) = model.trace.segments
    assert [one.ids for one in server.emitted] == [segment.tokens[turn.sampled : turn.end] for turn in segment.turns]

    first, second, third = segment.turns
    whole = tokenizer.apply_chat_template(conversation[:3], tokenize=True, return_dict=False)
    ends = [index for index, token in enumerate(whole) if token == tokenizer.eos_token_id]
    assert segment.tokens[: first.sampled] == tokenizer.apply_chat_template(
        conversation[:1], tokenize=True, return_dict=False
    )
    assert segment.tokens[first.end : second.sampled] == whole[ends[0] + 1 :]
    # What a tool prints is text, however it is spelled.
    special = set(tokenizer.all_special_ids) | set(tokenizer.convert_tokens_to_ids(list(SPECIAL)))
    printed = segment.tokens[second.end : third.sampled]
    names = [tokenizer.convert_ids_to_tokens(token) for token in printed if token in special]
    assert names == ["[TOOL]", "[/TOOL]"]
    assert tokenizer.decode(printed).replace(" ", "") == f"[TOOL]{SPELLED}[/TOOL]".replace(" ", "")


@pytest.mark.parametrize("kind", KINDS)
def test_no_space_comes_between_an_answer_and_what_follows(kind: str) -> None:
    """Where no special token parts them, a text that is tokenised by itself would begin with one."""
    tokenizer = piece_tokenizer(kind, PLAIN)
    template = ChatTemplate(tokenizer)
    asked = [{"role": "user", "content": "the end"}]
    conversation = [*asked, {"role": "assistant", "content": "the fox"}, *asked]
    found = template.continuation(conversation[:2], conversation[2:], ())
    prompt = template.prompt(asked, ())
    sampled = tokenizer.convert_tokens_to_ids(["t", "h", "e", "▁", "f", "o", "x"])
    whole = template.decode([*prompt, *sampled, *found.after(None)])
    rendered = tokenizer.apply_chat_template(conversation, tokenize=False)
    assert whole.removeprefix(" ") == rendered.replace("assistant: the", "assistant:the")
    assert (found.end_of_turn, template.endings()) == (None, ((), [tokenizer.eos_token_id]))


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_are_the_templates_alone(kind: str) -> None:
    tokenizer = piece_tokenizer(kind, MARKED)
    text = SpecialTokenEscaping(tokenizer)
    for before, name, after in itertools.product(("", "the "), SPECIAL, ("", " the")):
        own = tokenizer.convert_tokens_to_ids(name)
        assert own in text.encode(f"{before}{name}{after}")
        assert own not in text.encode(text.escape(f"{before}{name}{after}", all_added=False))


async def test_a_tokenizer_that_loses_text_is_refused(serving: Callable[..., Any]) -> None:
    _, source = serving("chatml", load_tokenizer=lambda: piece_tokenizer("wordpiece", MARKED))
    with pytest.raises(UsageError, match="does not reproduce its input"):
        await source.prepare()
    await source.close()

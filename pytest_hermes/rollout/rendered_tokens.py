"""Tokens of a conversation as a chat template renders it, where a server does not tell those it sampled.

They are what a tokenizer makes of the text, so they may differ from the sampled ones wherever a model writes a text
by other tokens than the tokenizer would, and wherever a template changes what the model wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ..models.tokens.chat_template import for_template, render
from ..models.tokens.trace import IGNORED

#: How a sequence of tokens came about: `retokenised` from the rendered conversation, or `placeholder` for none.
Source = Literal["retokenised", "placeholder"]


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used here; it is the same in transformers 4 and 5."""

    all_special_ids: list[int]

    def apply_chat_template(self, conversation: list[dict[str, Any]], **options: Any) -> Any: ...

    def __call__(self, text: str, **options: Any) -> Any: ...


@dataclass(frozen=True)
class ConversationTokens:
    """One sequence: `masks` holds for each token its own id where the assistant wrote it, else IGNORED."""

    tokens: list[int]
    masks: list[int]
    source: Source
    #: Answers of the assistant that could not be found in the rendered text, and are not trained on.
    lost_answers: int = 0


#: A sequence that trains nothing, for a model without a tokenizer.
PLACEHOLDER = ConversationTokens([0], [IGNORED], "placeholder")


def tokenise(
    tokenizer: Tokenizer, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] = ()
) -> ConversationTokens:
    """Return the tokens of a conversation, rendered whole by the tokenizer's chat template.

    Unmasked is what the assistant wrote, with the token that ends its turn. Raises TemplateError when the template
    cannot render it.
    """
    rendering = _Rendering(tokenizer, messages, tools)
    text = _Encoded(tokenizer, rendering.text)
    masks = [IGNORED] * len(text.tokens)
    lost = 0
    for answer in rendering.answers():
        inside = text.within(answer) if answer is not None else []
        lost += not inside
        for i in inside:
            masks[i] = text.tokens[i]
    return ConversationTokens(text.tokens, masks, "retokenised", lost)


@dataclass(frozen=True)
class _Answer:
    """Where the rendered text holds an answer of the assistant: at characters `start` to `end`."""

    start: int
    end: int
    #: The answer rendered as the last message, when that is not what stands there: it ends by the same token.
    alone: str | None = None


class _Encoded:
    """A text with its tokens and where they stand in it."""

    def __init__(self, tokenizer: Tokenizer, text: str) -> None:
        self._tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids)
        self._text = text
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        self.tokens = [int(token) for token in encoded["input_ids"]]
        self._offsets = [(int(start), int(end)) for start, end in encoded["offset_mapping"]]

    def within(self, answer: _Answer) -> list[int]:
        """Return the indices of an answer's tokens, up to and with the one that ends its turn; what follows that, a
        newline mostly, is the template's."""
        inside = [
            i for i, (start, end) in enumerate(self._offsets) if answer.start <= start < answer.end and end > start
        ]
        if answer.alone is None:
            ends = [i for i in inside if self.tokens[i] in self._special]
            if ends and not self._text[self._offsets[ends[-1]][1] : answer.end].strip():
                return [i for i in inside if i <= ends[-1]]
            return inside
        end = self._last_special(answer.alone)
        last = next((i for i in inside if self.tokens[i] == end), None)
        return [i for i in inside if last is not None and i <= last]

    def _last_special(self, text: str) -> int | None:
        tokens = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return next((int(token) for token in reversed(tokens) if token in self._special), None)


class _Rendering:
    def __init__(
        self, tokenizer: Tokenizer, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]]
    ) -> None:
        self._tokenizer = tokenizer
        self._messages = [for_template(message) for message in messages]
        self._tools = list(tools) or None
        self.text = self._render(len(self._messages))

    def answers(self) -> Iterator[_Answer | None]:
        """Yield where each answer of the assistant stands, None for one that the text does not hold as it was."""
        turns = [index for index, message in enumerate(self._messages) if message["role"] == "assistant"]
        starts = [len(prompt) if self.text.startswith(prompt) else None for prompt in map(self._prompt, turns)]
        ends = [*starts[1:], len(self.text)]
        for turn, start, end in zip(turns, starts, ends, strict=True):
            until_here = self._render(turn + 1)
            if start is None or len(until_here) <= start:
                yield None
            elif self.text.startswith(until_here):
                yield _Answer(start, len(until_here))
            # The last answer is often rendered otherwise than those before.
            elif end is not None:
                yield _Answer(start, end, alone=until_here[start:])
            else:
                yield None

    def _prompt(self, turn: int) -> str:
        return self._render(turn, add_generation_prompt=True)

    def _render(self, count: int, **options: Any) -> str:
        return render(self._tokenizer, self._messages[:count], self._tools, **options)

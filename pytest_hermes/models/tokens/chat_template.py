"""Prompts as token ids: a conversation rendered whole, or only what came after an answer."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import TemplateError
from .special_tokens import SpecialTokenEscaping

Messages = Sequence[Mapping[str, Any]]

#: Who may write tokens that are special to a model alone, such as `<think>`. Tools, which go by several names, may not.
_SPEAKERS = frozenset({"system", "developer", "user", "assistant"})

#: What calls are made of: WordPiece loses its white space and its capitals.
_PROBE = 'f({"Key":  "a-b/C.txt"})\n\tend'


@dataclass(frozen=True)
class Continuation:
    """What the template writes after an answer of the assistant, up to where the next one begins."""

    ids: list[int]
    #: The token by which the template closes the answer, if it has one. `ids` begins with it.
    end_of_turn: int | None
    #: The token by which it closes an answer that nothing follows; gpt-oss's is another one.
    last_end: int | None

    def after(self, stop_token: int | None) -> list[int]:
        """Return the ids that follow an answer that ended by `stop_token`, None for one without: a turn ends once.

        Whichever special token a model stopped by, it stands for the template's own. A template without one lets the
        next turn's first token end a turn, and models sample that.
        """
        ids = list(self.ids)
        if stop_token is None:
            return ids
        if ids and ids[0] == self.end_of_turn:
            del ids[0]
        if ids and ids[0] == stop_token:
            del ids[0]
        return ids


class ChatTemplate:
    """A tokenizer's chat template. `options` are further variables for it, such as `enable_thinking`."""

    def __init__(self, tokenizer: Any, options: Mapping[str, Any] | None = None) -> None:
        """Raises TemplateError for a tokenizer that is not fast, or does not give back the text it is given."""
        self._tokenizer = tokenizer
        self._options = dict(options or {})
        self._text = SpecialTokenEscaping(tokenizer)
        if (back := self.decode(self.encode(_PROBE)).removeprefix(" ")) != _PROBE:
            name = getattr(tokenizer, "name_or_path", "")
            raise TemplateError(
                f"the tokenizer {name!r} does not reproduce its input ({_PROBE!r} becomes {back!r}), so prompts and "
                "calls would differ from the messages: token-exact training needs another tokenizer"
            )
        self.special = frozenset(self._text.special_ids.values())
        self._arguments_as_text = False

    def prompt(self, messages: Messages, tools: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return the ids of a conversation, up to where the assistant's answer begins.

        Raises TemplateError when the template cannot render it.
        """
        return self._text.encode(self._render(self._escaped(messages), tools, prompt=True))

    def continuation(self, messages: Messages, new: Messages, tools: Sequence[Mapping[str, Any]]) -> Continuation:
        """Return what follows on `messages`, which end with an answer, when `new` messages come after it.

        The answer is rendered with a word in it that is found again, so nothing that the template does to the
        conversation before it matters: trimming, dropped reasoning, another order of a call's arguments. Raises
        TemplateError when the template cannot render it, or writes the end of an answer otherwise once it goes on.
        """
        word = f"anchor{secrets.token_hex(8)}"
        escaped, following = self._escaped(messages), self._escaped(new)
        problem: TemplateError | None = None
        for history in _with_word(escaped, word):
            try:
                closed = _after(self._render(history, tools, prompt=False), word)
                going_on = _after(self._render([*history, *following], tools, prompt=True), word)
            except TemplateError as error:
                problem = problem or error
                continue
            if closed is None or going_on is None:
                continue
            last = self._text.last_special(closed)
            if last is None:
                until = len(closed.rstrip())
                if going_on.startswith(closed[:until]):
                    ids = self._text.encode_after_text(going_on[until:])
                    return Continuation(ids, None, None)
                continue
            until, end = last
            begin = until - len(end)
            if going_on.startswith(closed[:begin]):
                ids_of = self._text.special_ids
                closing = end if going_on.startswith(end, begin) else self._closing(history[:-1], tools)
                if closing is not None and going_on.startswith(closing, begin):
                    # From the closing token on, so that what follows is not taken for the beginning of a text.
                    ids = self._text.encode(going_on[begin:])
                    return Continuation(ids, ids_of[closing], ids_of[end])
        raise problem or TemplateError("the chat template does not render an answer when messages follow it")

    def _closing(self, messages: Messages, tools: Sequence[Mapping[str, Any]]) -> str | None:
        """Return the special token by which the template closes the last of `messages`."""
        try:
            last = self._text.last_special(self._render(messages, tools, prompt=False))
        except TemplateError:
            return None
        return last[1] if last is not None else None

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text that no template writes anything around."""
        return self._text.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of sampled ids, with special tokens, since calls and reasoning may be marked by them."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def unknown(self, ids: Sequence[int]) -> int | None:
        """Return the first of `ids` that the tokenizer does not have; None when it has them all.

        Decoding leaves such ids out, and models have some: their tables are larger than vocabularies.
        """
        token_of = self._tokenizer.backend_tokenizer.id_to_token
        # A tokenizer's ids have 32 bits.
        return next((one for one in ids if one >= 2**32 or token_of(one) is None), None)

    def endings(self) -> tuple[tuple[int, ...], list[int]]:
        """Return the special tokens by which the template closes an answer, and those by which a model may end one.

        A model may stop by the first token of the next turn where the template closes none, and by its tokenizer's own.
        """
        eos = self._tokenizer.eos_token_id
        closing: set[int] = set()
        stopping = {eos} if isinstance(eos, int) else set()
        user: dict[str, Any] = {"role": "user", "content": "a"}
        call = {"id": "abcdefghi", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        calling = {"role": "assistant", "content": "", "tool_calls": [call]}
        result = {"role": "tool", "tool_call_id": "abcdefghi", "name": "f", "content": "c"}
        ends: list[tuple[list[dict[str, Any]], dict[str, Any]]]
        ends = [([user, {"role": "assistant", "content": "b"}], user), ([user, calling], result)]
        for history, new in ends:
            try:
                found = self.continuation(history, [new], ())
            except TemplateError:  # a template without tools, for one
                continue
            if found.end_of_turn is not None and found.last_end is not None:
                closing |= {found.end_of_turn, found.last_end}
                stopping.add(found.last_end)
            else:
                stopping |= {next(iter(found.ids), -1)} & self.special
        return tuple(sorted(closing)), sorted(stopping)

    def _escaped(self, messages: Messages) -> list[dict[str, Any]]:
        return [
            {
                **self._text.escape(
                    {k: v for k, v in message.items() if k != "role"}, all_added=message["role"] not in _SPEAKERS
                ),
                "role": message["role"],
            }
            for message in map(for_template, messages)
        ]

    def _render(self, messages: Messages, tools: Sequence[Mapping[str, Any]], *, prompt: bool) -> str:
        schemas = self._text.escape(list(tools), all_added=False) or None
        if not self._arguments_as_text:
            try:
                return render(self._tokenizer, messages, schemas, add_generation_prompt=prompt, **self._options)
            except TemplateError:
                if not any(message.get("tool_calls") for message in messages):
                    raise
        # Some templates (DeepSeek's) put arguments together with text, so they must be text.
        with_texts = [_with_texts(message) for message in messages]
        text = render(self._tokenizer, with_texts, schemas, add_generation_prompt=prompt, **self._options)
        self._arguments_as_text = True
        return text


def render(tokenizer: Any, messages: Messages, tools: Any, **options: Any) -> str:
    """Return a conversation as the tokenizer's chat template writes it. Raises TemplateError when it cannot."""
    try:
        return str(tokenizer.apply_chat_template(list(messages), tools=tools, tokenize=False, **options))
    except Exception as error:  # templates are programs, and raise what they like
        raise TemplateError(f"the chat template cannot render it: {type(error).__name__}: {error}") from error


def for_template(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as chat templates expect it: texts for contents, objects for arguments, one reasoning field."""
    prepared = {**message, "content": "" if message.get("content") is None else message["content"]}
    if "reasoning" in prepared:
        prepared.setdefault("reasoning_content", prepared.pop("reasoning"))
    if prepared.get("reasoning_content"):
        # gpt-oss's name for it, and its template takes no content beside it where there are calls. It must not be left
        # out then: transformers would fill it in.
        alone = not (prepared["content"] and prepared.get("tool_calls"))
        prepared.setdefault("thinking", prepared["reasoning_content"] if alone else "")
    if prepared.get("tool_calls"):
        prepared["tool_calls"] = [_call(call) for call in prepared["tool_calls"]]
    return prepared


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    try:
        arguments = json.loads(function["arguments"])
    except (ValueError, TypeError, RecursionError):
        return dict(call)
    return {**call, "function": {**function, "arguments": arguments}} if isinstance(arguments, dict) else dict(call)


def _with_arguments(call: Mapping[str, Any], arguments: Any) -> dict[str, Any]:
    return {**call, "function": {**call["function"], "arguments": arguments}}


def _with_texts(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = [
        _with_arguments(call, json.dumps(arguments, ensure_ascii=False)) if isinstance(arguments, dict) else call
        for call in message.get("tool_calls") or ()
        for arguments in [call["function"]["arguments"]]
    ]
    return {**message, "tool_calls": calls} if calls else dict(message)


def _with_word(messages: list[dict[str, Any]], word: str) -> Iterator[list[dict[str, Any]]]:
    """Yield conversations whose last message holds `word` where the assistant's own text ends.

    First in the last call; then with one call a turn, for templates that take no more; then in the content, for those
    that write no calls at all.
    """
    *before, last = messages
    calls = last.get("tool_calls")
    if calls:
        named = _with_arguments(calls[-1], {"anchor": word})
        yield [*before, {**last, "tool_calls": [*calls[:-1], named]}]
        yield [*map(_with_one_call, before), {**last, "tool_calls": [named]}]
    yield [*before, {**last, "content": word}]
    yield [*before, {"role": "assistant", "content": word}]


def _with_one_call(message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "tool_calls": message["tool_calls"][-1:]} if message.get("tool_calls") else message


def _after(text: str, word: str) -> str | None:
    _, found, rest = text.rpartition(word)
    return rest if found else None

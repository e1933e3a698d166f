"""Tokenises rendered conversations so that only the chat template makes special tokens.

A tool that prints `<|im_end|>` must not end a turn: what it prints is text, token by token. So strings of the
conversation that look like an added token are escaped before they are rendered, and whatever looks like one unescaped
is the template's own.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from .errors import TemplateError

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class SpecialTokenEscaping:
    """A tokenizer whose added tokens have secret names: text that is spelled like one stays text.

    Its ids are those of the tokenizer it is made of, which must be a fast one.
    """

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise TemplateError(f"the tokenizer {getattr(tokenizer, 'name_or_path', '')!r} is not a fast one")
        spec = json.loads(backend.to_str())
        nonce = secrets.token_hex(8)
        if spec["model"].get("byte_fallback"):
            # Some name the bytes as added tokens too; they are how a model spells what it has no piece for.
            spec["added_tokens"] = [token for token in spec["added_tokens"] if not _BYTE.fullmatch(token["content"])]
        ids: dict[str, int] = {token["content"]: token["id"] for token in spec["added_tokens"]}
        self._texts = list(ids)
        self._names = {text: f"\ue000{nonce}-{index}\ue001" for index, text in enumerate(self._texts)}
        special = []
        for token in spec["added_tokens"]:
            if token["special"] or token["id"] in tokenizer.all_special_ids:
                special.append(token["content"])
            # What the template writes is found as it stands, whatever the text around it becomes.
            token.update(content=self._names[token["content"]], normalized=False)
        # Their templates add tokens that chat templates write themselves, and name them.
        spec.update(post_processor=None, truncation=None, padding=None)
        rename_in_model(spec["model"], {self._names[text]: (text, ids[text]) for text in self._texts})
        self._twin = Tokenizer.from_str(json.dumps(spec))
        moved = [text for text, name in self._names.items() if self._twin.token_to_id(name) != ids[text]]
        if moved:
            raise TemplateError(f"the tokenizer's token {moved[0]!r} cannot be distinguished from the same text")
        self._index = {text: index for index, text in enumerate(self._texts)}
        #: The ids of special tokens, by their text.
        self.special_ids = {text: ids[text] for text in special}
        self._any = _one_of(self._texts)
        self._special = _one_of(special)
        # Letters and digits alone, since templates may write other characters as JSON or Python do.
        self._escape = re.compile(f"escape{nonce}x(\\d+)x")
        self._nonce = nonce

    def escape(self, value: Any, *, all_added: bool) -> Any:
        """Return a JSON value in which the text of every special token is escaped.

        `all_added`: of every added token's, such as `<tool_call>` and `<think>`, which are special to a model.
        """
        if isinstance(value, str):
            return (self._any if all_added else self._special).sub(self._escaped, value)
        if isinstance(value, Mapping):
            return {
                self._special.sub(self._escaped, key): self.escape(value[key], all_added=all_added) for key in value
            }
        if isinstance(value, list | tuple):
            return [self.escape(one, all_added=all_added) for one in value]
        return value

    def _escaped(self, found: re.Match[str]) -> str:
        return f"escape{self._nonce}x{self._index[found[0]]}x"

    def encode(self, rendered: str) -> list[int]:
        """Return the ids of a rendered text that may hold escapes."""
        return list(self._encoding(rendered).ids)

    def encode_after_text(self, rendered: str) -> list[int]:
        """Return the ids of a rendered text that goes on after other text, so that it begins as no text does.

        Many tokenizers put a space before what they are given.
        """
        for before in ("\ue002", "a", "\n"):
            encoding = self._encoding(before + rendered)
            starts = [start for start, end in encoding.offsets if end > start]
            if len(before) in starts:
                first = next(i for i, (start, _) in enumerate(encoding.offsets) if start >= len(before))
                return list(encoding.ids[first:])
        return self.encode(rendered)

    def _encoding(self, rendered: str) -> Any:
        named = self._any.sub(lambda found: self._names[found[0]], rendered)
        plain = self._escape.sub(lambda found: self._texts[int(found[1])], named)
        # A tool may print half of a surrogate pair, which is no text to a tokenizer.
        return self._twin.encode(plain.encode("utf-8", "replace").decode(), add_special_tokens=False)

    def last_special(self, rendered: str) -> tuple[int, str] | None:
        """Return where the last special token ends that is followed by white space alone, and its text."""
        found = None
        for found in self._special.finditer(rendered):  # noqa: B007
            pass
        return (found.end(), found[0]) if found is not None and not rendered[found.end() :].strip() else None


def _one_of(texts: list[str]) -> re.Pattern[str]:
    """Return a pattern of the texts, the longest first, as tokenizers look for them."""
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) if ordered else r"(?!)")


def rename_in_model(model: dict[str, Any], tokens: Mapping[str, tuple[str, int]]) -> None:
    """Give a tokenizer's model its added tokens under other names, with their ids.

    `tokens` are their texts and ids by their new names. Most vocabularies have them under their own as well, where some
    models find them in plain text; and one that does not stand there would get the next id that is free.
    """
    vocabulary = model["vocab"]
    texts = {text: name for name, (text, _) in tokens.items()}
    if model.get("unk_token") in texts:
        model["unk_token"] = texts[model["unk_token"]]
    if isinstance(vocabulary, list):  # Unigram: an id is an index
        for name, (_, token) in tokens.items():
            vocabulary += [[f"{name}-{index}", 0.0] for index in range(len(vocabulary), token + 1)]
            vocabulary[token] = [name, vocabulary[token][1]]
        return
    for name, (text, token) in tokens.items():
        vocabulary.pop(text, None)
        vocabulary[name] = token
    if "merges" in model:
        model["merges"] = [pair for pair in model["merges"] if not texts.keys() & _merged(pair)]


def _merged(pair: str | list[str]) -> set[str]:
    """Return the two pieces that a merge joins, and what they become."""
    left, right = pair.split(" ") if isinstance(pair, str) else pair
    return {left, right, left + right}

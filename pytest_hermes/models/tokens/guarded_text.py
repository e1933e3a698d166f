"""Tokenises rendered conversations so that only the chat template makes special tokens.

A tool that prints `<|im_end|>` must not end a turn: what it prints is text, token by token. So strings of the
conversation that look like an added token get a mark before they are rendered, and whatever looks like one without a
mark is the template's own.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from .errors import TemplateError


class GuardedText:
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
        self._texts: list[str] = []
        ids: list[int] = []
        special = []
        for index, token in enumerate(spec["added_tokens"]):
            self._texts.append(token["content"])
            ids.append(token["id"])
            if token["special"] or token["id"] in tokenizer.all_special_ids:
                special.append(token["content"])
            token["content"] = f"\ue000{nonce}-{index}\ue001"
        names = [token["content"] for token in spec["added_tokens"]]
        # Their templates add tokens that chat templates write themselves, and name them.
        spec.update(post_processor=None, truncation=None, padding=None)
        self._twin = Tokenizer.from_str(json.dumps(spec))
        self._ids = {self._twin.token_to_id(name): own for name, own in zip(names, ids, strict=True)}
        self._names = dict(zip(self._texts, names, strict=True))
        self._index = {text: index for index, text in enumerate(self._texts)}
        #: The ids of special tokens, by their text.
        self.special_ids = {text: ids[self._index[text]] for text in special}
        self._any = _one_of(self._texts)
        self._special = _one_of(special)
        self._mark = re.compile(f"\ue000{nonce}=(\\d+)\ue001")
        self._nonce = nonce

    def guard(self, value: Any, *, all_added: bool) -> Any:
        """Return a JSON value with a mark in the place of every special token's text.

        `all_added`: of every added token's, such as `<tool_call>` and `<think>`, which are special to a model.
        """
        if isinstance(value, str):
            return (self._any if all_added else self._special).sub(self._marked, value)
        if isinstance(value, Mapping):
            return {key: self.guard(one, all_added=all_added) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.guard(one, all_added=all_added) for one in value]
        return value

    def _marked(self, found: re.Match[str]) -> str:
        return f"\ue000{self._nonce}={self._index[found[0]]}\ue001"

    def encode(self, rendered: str) -> list[int]:
        """Return the ids of a rendered text that may hold marks."""
        named = self._any.sub(lambda found: self._names[found[0]], rendered)
        plain = self._mark.sub(lambda found: self._texts[int(found[1])], named)
        # A tool may print half of a surrogate pair, which is no text to a tokenizer.
        whole = plain.encode("utf-8", "replace").decode()
        return [self._ids.get(token, token) for token in self._twin.encode(whole, add_special_tokens=False).ids]

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

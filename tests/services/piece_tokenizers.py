"""Tokenizers that are no byte-level BPE: SentencePiece's, as Llama 2, Mistral and others have them, and WordPiece."""

from __future__ import annotations

import json
from typing import Any

SPECIAL = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL]", "[/TOOL]")
_BYTES = [f"<0x{value:02X}>" for value in range(256)]
_TEXTS = (
    "the quick brown fox calls a tool",
    '{"name": "terminal", "arguments": {}} and the end of it',
    "## User: the fox",
)


def piece_tokenizer(kind: str, template: str) -> Any:
    """Return a tokenizer of transformers. `kind` is where a space is put before a text:

    `legacy`, `always` (after each special token as well), `first` (where the text begins), `never`; or `unigram`, whose
    vocabulary has its special tokens as pieces of text too; or `wordpiece`, which loses white space.
    """
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    tokenizer = {"unigram": _unigram, "wordpiece": _wordpiece}.get(kind, lambda: _bpe(kind))()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")
    fast.chat_template = template
    return fast


def _bpe(kind: str) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    learned = Tokenizer(models.BPE(unk_token="<unk>"))
    learned.normalizer = normalizers.Replace(" ", "▁")
    learned.train_from_iterator(_TEXTS, trainers.BpeTrainer(vocab_size=120, show_progress=False))
    model = json.loads(learned.to_str())["model"]
    # By these merges a special token's text becomes the token, wherever it stands.
    spelled = [("<", "/"), ("s", ">"), ("</", "s>")]
    merges = [*spelled, *(tuple(pair) for pair in model["merges"])]
    pieces = dict.fromkeys([*SPECIAL, *_BYTES, "<", "/", "s", ">", "</", "s>", *model["vocab"]])
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if kind == "legacy":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def _unigram() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers

    pieces = [*((name, 0.0) for name in SPECIAL), *((name, -9.0) for name in _BYTES)]
    pieces += [
        *((letter, -5.0) for letter in sorted(set("".join(_TEXTS))) if letter != " "),
        ("▁", -4.0),
        ("▁the", -3.0),
    ]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _wordpiece() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    letters = sorted(set("".join(_TEXTS).lower()))
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer

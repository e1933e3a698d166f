"""In which words endpoints refuse a conversation, not a request: one table, with who says so.

Providers send most of these as a plain 400, whose code says no more than that the request is invalid.
"""

from __future__ import annotations

import re
from typing import Final, Literal

#: `context`: it does not fit into the context window. `filtered`: a filter of the provider does not let it pass.
#: `malformed`: the endpoint could not read the calls that its own model had written.
Meaning = Literal["context", "filtered", "malformed"]

#: Regular expressions, without regard to capitals, that are looked for in an error's message and code.
_PHRASES: Final[dict[Meaning, dict[str, str]]] = {
    "context": {
        r"context_length_exceeded": "OpenAI's code",
        r"context (length|window|size|limit|overflow)": "OpenAI, vLLM, llama.cpp, LM Studio, OpenRouter, MiniMax",
        r"exceed_context_size": "llama.cpp's type",
        r"exceeds? (the )?context limit": "Anthropic, for the input and max_tokens together",
        r"prompt is too long": "Anthropic",
        r"input is too long": "Amazon Bedrock",
        r"input (token count|length).*exceeds?": "Gemini; SGLang; Alibaba",
        r"range of input length should be": "Alibaba",
        r"max(imum)? message tokens": "Volcengine",
        r"exceeded model token limit": "Moonshot",
        r"maximum prompt length is": "xAI",
        r"prompt token count.*exceeds": "GitHub Copilot",
        r"reduce the length of (the|your) (messages|prompt|input)": "OpenAI, Groq",
        r"too many (input |prompt )?tokens": "Mistral, Cohere",
        r"longer than the (maximum )?model": "vLLM",
        r"prompt contains \d+ tokens.*(too large|exceed)": "Mistral",
        r"must have less than \d+ tokens|inputs tokens \+ max_new_tokens": "text-generation-inference",
        r"tokens? (count|limit).*(exceed|too (long|large))|exceeds? (the )?(max(imum)? )?tokens? limit": "gateways",
    },
    "filtered": {
        r"content[_ ]filter": "OpenAI's and Azure's code; Moonshot's type",
        r"content management policy": "Azure",
        r"responsibleaipolicyviolation": "Azure's inner code",
        r"content_policy_violation|content policy": "OpenAI's code",
        r"prompt was flagged": "OpenAI, for reasoning models",
        r"content exists risk": "DeepSeek",
        r"data_?inspection_?failed": "Alibaba's code",
        r"inappropriate content": "Alibaba",
        r"request was rejected because it was considered high risk": "Moonshot",
        r"output blocked by content filtering policy": "Anthropic",
        r"contentfilter|contains? sensitive (content|words)": "Z.ai, gateways",
        r"requires moderation|input was flagged": "OpenRouter",
    },
    "malformed": {
        r"tool_use_failed": "Groq's code",
        r"failed to call a function": "Groq",
        r"tool call validation failed": "Groq",
        r"failed to parse tool call arguments": "llama.cpp, with a 500",
        r"error parsing tool call": "Ollama, with a 500",
        r"failed to parse input at pos": "llama.cpp, with a 500",
    },
}

_COMPILED = {meaning: re.compile("|".join(phrases), re.IGNORECASE) for meaning, phrases in _PHRASES.items()}

#: Statuses with which each of them comes. A 429 counts tokens per minute, in words much like those of a full window.
_STATUSES: Final[dict[Meaning, frozenset[int]]] = {
    "context": frozenset({200, 400, 413, 422, 500}),
    "filtered": frozenset({200, 400, 403, 422, 451}),
    "malformed": frozenset({200, 400, 422, 500}),
}


def meaning_of(status: int, text: str) -> Meaning | None:
    """Return what an error with this status says about the conversation; None: nothing that is known here."""
    return next((name for name, one in _COMPILED.items() if status in _STATUSES[name] and one.search(text)), None)

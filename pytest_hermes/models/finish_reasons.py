"""What endpoints mean by the `finish_reason` of an answer: one table, with who says so."""

from __future__ import annotations

from typing import Final, Literal

#: `fault`: the endpoint failed. `malformed`: the model's calls could not be read. `filtered`: a filter of the provider
#: held the answer back. `refused`: the model did not want to answer. `length`: the limit on an answer's tokens.
#: `context`: the context window.
Meaning = Literal["fault", "malformed", "filtered", "refused", "length", "context"]

_MEANINGS: Final[dict[Meaning, dict[str, str]]] = {
    "fault": {
        "error": "OpenRouter, LiteLLM, new-api: the upstream failed after the answer had begun",
        "abort": "vLLM, SGLang: the server gave the request up",
        "network_error": "Z.ai",
        "insufficient_system_resource": "DeepSeek",
    },
    "malformed": {
        "malformed_function_call": "Gemini",
        "unexpected_tool_call": "Gemini",
        "too_many_tool_calls": "Gemini",
        "malformed_response": "Gemini",
        "malformed_tool_use": "Amazon Bedrock",
        "malformed_model_output": "Amazon Bedrock",
    },
    "filtered": {
        "content_filter": "OpenAI, Azure, LiteLLM, OpenRouter",
        "content_filtered": "Amazon Bedrock",
        "guardrail_intervened": "Amazon Bedrock",
        "sensitive": "Z.ai",
        "safety": "Gemini",
        "recitation": "Gemini",
        "blocklist": "Gemini",
        "prohibited_content": "Gemini",
        "spii": "Gemini",
        "language": "Gemini",
    },
    "refused": {"refusal": "Anthropic"},
    "length": {
        "length": "OpenAI",
        "max_tokens": "Anthropic, Gemini, Amazon Bedrock",
        "model_length": "Mistral",
    },
    "context": {"model_context_window_exceeded": "Anthropic, Z.ai"},
}

_MEANING_OF = {reason: meaning for meaning, reasons in _MEANINGS.items() for reason in reasons}

#: With these an answer has a call. Where it has none, the endpoint has lost it.
_CALLS = frozenset({"tool_calls", "function_call", "tool_use"})


def meaning_of(finish_reason: object, *, has_calls: bool) -> Meaning | None:
    """Return what it means that an answer ended so; None: that the model has said what it wanted to say."""
    if not isinstance(finish_reason, str):
        return None
    # Gateways hand on what is behind them, in its capitals or with the name of its type: `FinishReason.SAFETY`.
    reason = finish_reason.rpartition(".")[2].lower()
    if reason in _CALLS and not has_calls:
        return "malformed"
    return _MEANING_OF.get(reason)

"""How an endpoint wants to be asked, where that is not what the API says; learnt from its refusals.

Reasoning models take `max_completion_tokens` for `max_tokens` and no `temperature`; Cerebras, Groq and Mistral do not
take back the fields that their own or other models' messages have; some models of Alibaba only stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .error_body import ErrorBody

#: Parameters of a request that may be left out, and what is sent instead, if anything.
_PARAMETERS = {
    "max_tokens": "max_completion_tokens",
    "temperature": None,
    "stream_options": None,
}

#: Fields of messages and calls without which they are none.
_NEEDED = frozenset({"role", "content", "tool_calls", "tool_call_id", "id", "type", "function"})

#: How endpoints say that they do not know or take a field; that a value is out of range is another matter.
_NOT_TAKEN = re.compile(
    r"unsupported|not? support|n't support|not supported|unknown|unrecogni[sz]ed|unexpected|deprecated"
    r"|not (allowed|permitted|accepted)|extra (inputs|fields|properties)|extra_forbidden|only the default"
    r"|only \S+ is (allowed|supported)|is not available",
    re.IGNORECASE,
)

#: How a model that only streams says so: Alibaba, in three ways; Codex; gateways.
_STREAM_WANTED = re.compile(
    r"only supports? stream|for non-?stream(ing)? calls|stream must be set to true"
    r"|non-?stream\w*\b.* not supported|not support(ed)? non-?stream"
    r"|requires? stream|stream(ing)? is required|(use|enable) (the )?stream",
    re.IGNORECASE,
)

_SENTENCE_END = re.compile(r"[.;!]\s|\n")


@dataclass(frozen=True)
class ProviderRules:
    """What a request must be like. `a | b` has the rules of both."""

    #: Parameters that are left out, or sent by another name.
    without: frozenset[str] = frozenset()
    #: Fields that messages and their calls are sent without.
    without_in_messages: frozenset[str] = frozenset()
    streaming: bool = False

    def __or__(self, other: ProviderRules) -> ProviderRules:
        return ProviderRules(
            self.without | other.without,
            self.without_in_messages | other.without_in_messages,
            self.streaming or other.streaming,
        )

    def applied(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request as the endpoint wants it. `body` is not changed."""
        changed = dict(body)
        if self.streaming:
            changed["stream"] = True
            changed.setdefault("stream_options", {"include_usage": True})
        for name in self.without & changed.keys():
            value = changed.pop(name)
            if (other := _PARAMETERS[name]) is not None:
                changed.setdefault(other, value)
        if self.without_in_messages:
            changed["messages"] = [self._message(message) for message in changed["messages"]]
        return changed

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in message.items() if name not in self.without_in_messages}
        if kept.get("tool_calls"):
            kept["tool_calls"] = [
                {name: value for name, value in call.items() if name not in self.without_in_messages}
                for call in kept["tool_calls"]
            ]
        return kept

    def lines(self) -> Iterator[str]:
        """Yield each rule as a user reads it."""
        for name in sorted(self.without):
            other = _PARAMETERS[name]
            yield f"sends {other} instead of {name}" if other else f"sends no {name}"
        for name in sorted(self.without_in_messages):
            yield f"does not send {name} of earlier messages back"
        if self.streaming:
            yield "asks for a stream"


def learn(said: ErrorBody, sent: Mapping[str, Any]) -> ProviderRules | None:
    """Return the rules that the refusal of a request tells; None when it tells none that would change the request."""
    if _STREAM_WANTED.search(said.message) and not sent.get("stream"):
        return ProviderRules(streaming=True)
    if not _NOT_TAKEN.search(said.text):
        return None
    about = _refusing_sentences(said.message)
    rules = ProviderRules(
        frozenset(name for name in _PARAMETERS if name in sent and _is_named(name, about, said.parameter)),
        frozenset(name for name in extra_fields(sent["messages"]) if _is_named(name, about, said.parameter)),
    )
    return rules if rules != ProviderRules() else None


def _refusing_sentences(message: str) -> str:
    """Return the part of a message that refuses something: another may list what would be taken."""
    return "\n".join(filter(_NOT_TAKEN.search, _SENTENCE_END.split(message))) or message


def _is_named(name: str, text: str, parameter: str) -> bool:
    """Return whether an error is about the field of this name; `parameter` is the one that it names by a field."""
    if parameter in _PARAMETERS:
        return name == parameter
    if parameter.endswith(f".{name}"):
        return True
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


def extra_fields(messages: Any) -> frozenset[str]:
    """Return the names of the fields that messages and calls have beyond those of the API."""
    parts = [part for message in messages for part in (message, *(message.get("tool_calls") or ()))]
    return frozenset(name for part in parts for name in part) - _NEEDED

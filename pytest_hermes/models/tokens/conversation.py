"""One rollout's conversation as tokens: which of a request's messages are new, and what they are appended to."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .chat_template import ChatTemplate
from .dialects import Sampled
from .errors import TemplateError
from .trace import TokenTrace

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Prompt:
    """What the model is given: `ids`, of which the last `new` are not in the trace yet."""

    ids: list[int]
    new: int
    #: Why it begins a new segment; None when it goes on with the last one.
    new_segment: str | None
    tools: Tools


class TokenConversation:
    """Keeps the trace of one rollout. Ask for a prompt, sample, and tell the answer, one after the other."""

    def __init__(self, template: ChatTemplate, trace: TokenTrace, stop_tokens: Collection[int]) -> None:
        """`stop_tokens`: those that the server was told to stop at."""
        self._template = template
        self.trace = trace
        self._ends = {*trace.end_of_turn, *stop_tokens}
        #: For each turn of the trace what was said until then, its answer last, and with which tools.
        self._turns: list[tuple[list[Any], Tools]] = []

    def prompt(self, messages: Messages, tools: Tools | None) -> Prompt:
        """Return what to sample after. Raises TemplateError when the chat template cannot render the messages.

        The tools of a conversation are those it began with: a request without any lets the model call none, but what
        it was told of them stays said.
        """
        compared = [_compared(message) for message in messages]
        if self._turns and compared == self._turns[-1][0][:-1] and (not tools or tools == self._turns[-1][1]):
            # The agent asks the same again, so it did not use the answer.
            self.trace.take_back()
            self._turns.pop()
        why = self._why_anew(compared, tools)
        if why is None:
            known, tools = self._turns[-1]
            segment = self.trace.segments[-1]
            try:
                following = self._template.continuation(messages[: len(known)], messages[len(known) :], tools)
            except TemplateError as error:
                why = str(error)
            else:
                new = following.after(segment.turns[-1].stop_token)
                return Prompt([*segment.tokens, *new], len(new), None, tools)
        ids = self._template.prompt(messages, tools or ())
        return Prompt(ids, len(ids), why, tools or ())

    def answered(self, prompt: Prompt, messages: Messages, answer: Mapping[str, Any], sampled: Sampled) -> None:
        """Put into the trace what was sampled after `prompt`; `answer` is the message the agent gets of it."""
        self.trace.append(
            prompt.ids[len(prompt.ids) - prompt.new :],
            sampled.ids,
            sampled.logprobs,
            finish_reason=sampled.finish_reason,
            stop_token=self.stop_token(sampled),
            new_segment=prompt.new_segment,
        )
        self._turns.append(([_compared(message) for message in (*messages, answer)], prompt.tools))

    def stop_token(self, sampled: Sampled) -> int | None:
        """Return the special token by which the model ended its turn, None when something else ended it."""
        last = sampled.ids[-1]
        # Servers say `length` as well where it was the last one there was room for.
        if last in self._ends:
            return last
        return last if last in self._template.special and sampled.finish_reason == "stop" else None

    def _why_anew(self, compared: list[Any], tools: Tools | None) -> str | None:
        if not self._turns:
            return "the conversation begins"
        known, known_tools = self._turns[-1]
        if tools and tools != known_tools:
            return "the tools changed"
        if compared[: len(known)] == known:
            return None
        pairs = enumerate(zip(compared, known, strict=False))
        changed = next((index for index, (one, other) in pairs if one != other), None)
        if changed is None:
            return f"messages were dropped: {len(known) - len(compared)}"
        return f"message {changed} was changed"


def _compared(message: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what of a message must stay the same for the tokens before to stand for it.

    Agents and servers give calls other ids, strip contents and drop reasoning; the model said what it said.
    """
    content = message.get("content")
    text = content if isinstance(content, str) else "" if content is None else json.dumps(content, sort_keys=True)
    if message["role"] != "assistant":
        return message["role"], text
    calls = [
        (function.get("name"), _arguments(function.get("arguments")))
        for call in message.get("tool_calls") or ()
        for function in [call["function"]]
    ]
    return "assistant", text.strip(), calls


def _arguments(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value

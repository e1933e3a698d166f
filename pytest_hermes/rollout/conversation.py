"""A conversation in two forms: as it is recorded, and as it is sent to the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..core.sendable import recordable, sendable
from .answer import Answer, Call


class Conversation:
    """Grows by answers and the results of their calls.

    The two forms differ only where an endpoint would choke: see `Answer.sendable`. With `verbatim` they do not differ
    there either, for a model that compares what it is sent with what it said.
    """

    def __init__(self, messages: Sequence[Mapping[str, Any]], tools: Collection[str], *, verbatim: bool) -> None:
        """Begin with `messages`, which are not changed; `tools` are the names of what the model may call."""
        self.recorded: list[dict[str, Any]] = [recordable(dict(message)) for message in messages]
        self._sent: list[dict[str, Any]] = [sendable(dict(message)) for message in messages]
        self._tools = tools
        self._verbatim = verbatim
        #: The ids of all calls so far.
        self.call_ids = {str(call.get("id")) for message in messages for call in message.get("tool_calls") or ()}

    def request(self) -> list[dict[str, Any]]:
        """Return the messages to send, in a list of their own."""
        return list(self._sent)

    def add_answer(self, answer: Answer) -> None:
        self.recorded.append(answer.message)
        self._sent.append(answer.message if self._verbatim else answer.sendable(self._tools))
        self.call_ids.update(call.id for call in answer.calls)

    def add_result(self, call: Call, content: str) -> None:
        """Answer a call."""
        self.recorded.append(call.reply(recordable(content)))
        self._sent.append(call.reply(sendable(content)))

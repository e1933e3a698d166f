"""One model's chat completions: what is asked, what is made of the answers, and what is learnt from refusals."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ..core.one_line import first_line
from ..errors import InfrastructureError, UsageError
from .completion import Completion
from .error_body import json_or_text, read_error, without_list
from .event_stream import BrokenStream, assemble, data_of, is_event_stream, lines_of
from .faults import Asked, BadRequest, Fault, about_conversation, status_fault
from .finish_reasons import meaning_of
from .protocol import ContextWindowExceeded
from .provider_rules import ProviderRules, extra_fields, learn

log = logging.getLogger("pytest_hermes.models")

PATH = "/chat/completions"

#: Characters of a conversation, about 4,000 tokens, from which on a refusal without a reason may mean its length.
_LONG = 16_000

#: Tokens that an answer is held to when such a request is made once more.
_SHORT_ANSWER = 1024

#: Parameters of the `openai` package's own method that are not sent.
_OF_THE_CLIENT = frozenset({"timeout", "extra_headers", "extra_query"})

#: Sends a request and gives what `Chat.read` makes of its answer.
Send = Callable[[Mapping[str, Any]], Awaitable[Completion]]


class Chat:
    """What is known of how one endpoint answers one model's conversations."""

    def __init__(self, asked: Asked, send: Send) -> None:
        self._asked = asked
        self._send = send
        self._rules = ProviderRules()
        #: How refusals read that went away when an answer was allowed fewer tokens: the context window is full.
        self._full_window: set[str] = set()

    @property
    def adaptations(self) -> tuple[str, ...]:
        """What is sent otherwise than it was asked for, a line each."""
        return tuple(f"{self._asked.model} at {self._asked.address}: {line}" for line in self._rules.lines())

    async def ask(self, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> Completion:
        """Return the model's answer. A request is made again as the endpoint wants it, if its refusal says how.

        Raises what `Model.chat_completion` raises.
        """
        body = _request(self._asked.model, messages, parameters)
        new, guessed_at = ProviderRules(), None
        while True:
            sent = (self._rules | new).applied(body)
            try:
                completion = await self._send(sent)
            except BadRequest as refusal:
                learnt = learn(refusal.said, sent)
                if learnt is None and guessed_at is None and (extra := _suspects(sent["messages"])):
                    learnt, guessed_at = ProviderRules(without_in_messages=extra), refusal
                if learnt is None:
                    completion = await self._ask_for_less(sent, guessed_at or refusal)
                    break
                new |= learnt
            else:
                break
        self._keep(new)
        return completion

    def _keep(self, new: ProviderRules) -> None:
        """Ask so from now on: the endpoint has taken a request that was made by these rules."""
        known = self.adaptations
        self._rules |= new
        for line in self.adaptations:
            if line not in known:
                log.warning("%s, because the endpoint refuses it otherwise", line)

    async def _ask_for_less(self, sent: Mapping[str, Any], refusal: BadRequest) -> Completion:
        """Ask once more for a shorter answer: in whatever words, it may be the context window that is full."""
        wording = re.sub(r"\d+", "0", refusal.said.message)
        known = wording in self._full_window
        if not known and _length(sent["messages"]) < _LONG:
            raise InfrastructureError(str(refusal), kind=refusal.kind) from None
        try:
            completion = await self._send(_with_shorter_answer(sent))
        except BadRequest:
            if known:
                raise ContextWindowExceeded(str(refusal)) from None
            raise InfrastructureError(str(refusal), kind=refusal.kind) from None
        self._full_window.add(wording)
        return completion

    def read(self, answer: Any) -> Completion:
        """Return the completion that an answer with status 200 is: JSON, or the text of a stream.

        Raises Fault for one in which the endpoint says that it failed, ContextWindowExceeded, NoAnswer, FatalError,
        or another InfrastructureError for what is no completion.
        """
        answer = without_list(self._read_text(answer) if isinstance(answer, str) else answer)
        if not isinstance(answer, dict):
            raise not_a_completion(self._asked, answer if isinstance(answer, str) else str(answer))
        choices = answer.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        error = answer.get("error") or (choice.get("error") if isinstance(choice, dict) else None)
        if error or "choices" not in answer:
            raise _told_in_answer(self._asked, error or answer)
        if choices == []:
            raise Fault(f"{self._asked.address} answered without a choice")
        if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
            raise not_a_completion(self._asked, read_error(answer).message)
        reason, calls = choice.get("finish_reason"), choice["message"].get("tool_calls")
        if meaning_of(reason, has_calls=bool(calls)) == "fault":
            raise Fault(f"{self._asked.address} broke its answer off: finish_reason {first_line(str(reason))!r}")
        return Completion(answer)

    def _read_text(self, text: str) -> Any:
        if not is_event_stream(text):
            return json_or_text(text)
        try:
            return assemble(data_of(lines_of(text)))
        except BrokenStream:
            raise Fault(f"{self._asked.address} broke its answer off: the stream ended before it") from None
        except ValueError:
            return text


def _request(model: str, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a request. Raises UsageError for a parameter that is none of the API."""
    if foreign := _OF_THE_CLIENT & parameters.keys():
        raise UsageError(f"chat_completion does not take {min(foreign)!r}, which is not a parameter of the API")
    rest = {name: value for name, value in parameters.items() if value is not None and name != "extra_body"}
    # One answer is what there is without it, and not all endpoints know it.
    if rest.get("n") == 1:
        del rest["n"]
    return {"model": model, "messages": messages, **rest, **(parameters.get("extra_body") or {})}


def _suspects(messages: Any) -> frozenset[str]:
    """Return the fields of messages that a refusal which names none may be about; of a long one, it may be that."""
    return extra_fields(messages) if _length(messages) < _LONG else frozenset()


def _length(messages: Any) -> int:
    return len(json.dumps(messages, ensure_ascii=False, default=str))


def _with_shorter_answer(body: Mapping[str, Any]) -> dict[str, Any]:
    name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    limit = body.get(name)
    less = max(1, limit // 4) if isinstance(limit, int) else _SHORT_ANSWER
    return {**body, name: min(less, _SHORT_ANSWER)}


def _told_in_answer(asked: Asked, error: Any) -> Exception:
    """Return what an error means that a 200 holds: OpenRouter, for one, passes on what its upstream says later."""
    said = read_error(error)
    if said.status is not None:
        return status_fault(asked, said.status, error, "", {})
    return not_a_completion(asked, said.message, code=said.code)


def not_a_completion(asked: Asked, body: str, *, code: str = "") -> Exception:
    """Return what a 200 means if its `body` is not a completion."""
    line = first_line(asked.clean(body))
    if (about := about_conversation(200, line, read_error({"message": line, "code": code}))) is not None:
        return about
    told = repr(line) if line else "an empty body"
    return InfrastructureError(f"the answer of {asked.address} is not a chat completion: {told}", kind="endpoint")

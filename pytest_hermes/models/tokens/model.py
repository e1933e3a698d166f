"""Models that are asked by token ids, and leave a trace of what they sampled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import InfrastructureError, UsageError
from ...result import Usage
from ...task import Task
from .. import completion
from ..endpoint import Endpoint
from ..limiter import CallLimiter
from ..protocol import ContextWindowExceeded
from .call_format import call_parser
from .chat_template import ChatTemplate
from .conversation import TokenConversation
from .dialects import TEMPLATE_KEY, BadAnswer, Dialect, Protocols, Sampled, check_parameters
from .errors import TemplateError
from .token_endpoint import TokenEndpoint
from .trace import TokenTrace

#: Parameters of `chat_completion` that are seen to on this side.
_OWN = frozenset({"tools", "n", "max_tokens", "temperature", "extra_body"})

#: Ids at the end of a prompt in which the opening tag of reasoning is looked for.
_PROMPT_END = 16


@dataclass(frozen=True)
class TokenSettings:
    """How a token-exact model is asked."""

    #: Gives a fast Hugging Face tokenizer with a chat template, or raises UsageError. Called in a thread.
    load_tokenizer: Callable[[], Any]
    #: The format in which the model writes its calls.
    tool_call_parser: str = "hermes"
    protocol: Protocols = "auto"
    #: Checked before the run.
    extra_body: Mapping[str, Any] | None = None
    #: Gives the number of tokens that a whole sequence may have at most, None for as many as the server takes.
    longest: Callable[[], int | None] = lambda: None


@dataclass(frozen=True)
class _Ready:
    server: TokenEndpoint
    template: ChatTemplate
    end_of_turn: tuple[int, ...]
    stop_tokens: list[int]

    @property
    def dialect(self) -> Dialect:
        return self.server.dialect


class TokenSource:
    """The model of a server that takes and tells token ids; each rollout gets one with a trace of its own."""

    def __init__(self, endpoint: Endpoint, settings: TokenSettings) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self._ready: asyncio.Task[_Ready] | None = None

    @property
    def name(self) -> str:
        return self.endpoint.name

    @property
    def address(self) -> str:
        return self.endpoint.address

    @property
    def calls(self) -> CallLimiter:
        return self.endpoint.calls

    def for_task(self, task: Task | None = None) -> TokenExactModel:
        return TokenExactModel(self)

    def priced(self, usage: Usage) -> Usage:
        return self.endpoint.priced(usage)

    async def close(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.cancel()
        await self.endpoint.close()

    async def prepare(self) -> _Ready:
        """Find out how the server is spoken to, load the tokenizer, and check what all requests have in common.

        Raises UsageError for settings that cannot work, FatalError when nobody answers.
        """
        if self._ready is None or (self._ready.done() and (self._ready.cancelled() or self._ready.exception())):
            self._ready = asyncio.ensure_future(self._prepare())
        return await asyncio.shield(self._ready)

    async def _prepare(self) -> _Ready:
        call_parser(self.settings.tool_call_parser)
        tokenizer = await asyncio.to_thread(self.settings.load_tokenizer)
        extra_body = self.settings.extra_body or {}
        server = await TokenEndpoint.find(self.endpoint, self.settings.protocol)
        check_parameters(server.dialect, extra_body)
        try:
            template = await asyncio.to_thread(ChatTemplate, tokenizer, extra_body.get(TEMPLATE_KEY))
        except TemplateError as error:
            raise UsageError(str(error)) from None
        await server.check_tokenizer(template)
        closing, stopping = await asyncio.to_thread(template.endings)
        return _Ready(server, template, closing, stopping)

    async def sample(self, prompt: Sequence[int], parameters: Mapping[str, Any]) -> Sampled:
        """Return what the server samples after `prompt`. Raises what `Model.chat_completion` raises."""
        ready = await self.prepare()
        # What is said beside `extra_body`, as clients of chat completions say it, goes where that goes.
        beside = {key: value for key, value in parameters.items() if key not in _OWN and value is not None}
        more = {**(parameters.get("extra_body") or {}), **beside}
        if beside or parameters.get("extra_body") is not self.settings.extra_body:
            check_parameters(ready.dialect, more)
        of_template = (self.settings.extra_body or {}).get(TEMPLATE_KEY)
        if more.pop(TEMPLATE_KEY, of_template) != of_template:
            raise UsageError(f"{TEMPLATE_KEY} apply to the whole run: set them in env.extra_body")
        more["stop_token_ids"] = sorted({*ready.stop_tokens, *(more.get("stop_token_ids") or ())})
        max_tokens = parameters.get("max_tokens")
        longest = self.settings.longest()
        if longest is not None:
            left = longest - len(prompt)
            if left < 1:
                raise ContextWindowExceeded(f"{len(prompt)} tokens, but a sequence may have at most {longest}")
            max_tokens = left if max_tokens is None else min(max_tokens, left)
        temperature = {"temperature": parameters["temperature"]} if parameters.get("temperature") is not None else {}
        sampled = await ready.server.sample(prompt, {"n": 1, "max_tokens": max_tokens, **temperature, **more})
        if (unknown := ready.template.unknown(sampled.ids)) is not None:
            raise BadAnswer(
                f"the server sampled token {unknown}, which the tokenizer does not have: check that "
                "env.tokenizer_name is the tokenizer of the server's model"
            )
        return sampled


class TokenExactModel:
    """Answers one rollout: the messages that are new become tokens, what is sampled becomes a message and a trace."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self.trace = TokenTrace()
        self._conversation: TokenConversation | None = None

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> completion.Completion:
        """Return the model's answer. Ask one after the other.

        Raises InfrastructureError of the kind `tokens` when the template cannot render the conversation or the server
        does not tell what it sampled; else what `Model.chat_completion` raises.
        """
        if (parameters.get("n") or 1) != 1:
            raise UsageError("a token-exact model gives one answer at a time: n must be 1")
        ready = await self._source.prepare()
        if self._conversation is None:
            self.trace.end_of_turn = ready.end_of_turn
            self._conversation = TokenConversation(ready.template, self.trace, ready.stop_tokens)
        conversation = self._conversation
        tools = parameters.get("tools")
        try:
            # Of a long conversation it takes a while, in which others want to go on.
            prompt = await asyncio.to_thread(conversation.prompt, messages, tools)
        except TemplateError as error:
            raise InfrastructureError(str(error), kind="tokens") from None
        sampled = await self._source.sample(prompt.ids, parameters)
        before = ready.template.decode(prompt.ids[-_PROMPT_END:])
        reasoning, content, calls = self._read(ready, conversation, sampled, before, tools)
        answer = {"role": "assistant", "content": content, "tool_calls": calls}
        conversation.answered(prompt, messages, answer, sampled)
        return completion.answer(
            content,
            calls,
            finish_reason="tool_calls" if sampled.finish_reason == "stop" and calls else sampled.finish_reason,
            reasoning=reasoning,
            prompt_tokens=len(prompt.ids),
            completion_tokens=len(sampled.ids),
        )

    def _read(
        self,
        ready: _Ready,
        conversation: TokenConversation,
        sampled: Sampled,
        before: str,
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> tuple[str | None, str | None, list[Mapping[str, Any]]]:
        """Return the reasoning, the content and the calls of an answer."""
        parser = call_parser(self._source.settings.tool_call_parser)(tools)
        spoken = sampled.ids[:-1] if conversation.stop_token(sampled) is not None else sampled.ids
        text = ready.template.decode(spoken)
        cut_off = sampled.finish_reason == "length"
        reasoning, rest = parser.split_reasoning(text, prompt=before, cut_off=cut_off)
        # Without tools there is nothing to call.
        content, calls = parser.parse(rest) if tools else (rest, [])
        return reasoning, content or None if calls else content, list(calls)

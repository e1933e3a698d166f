"""Models that are asked by token ids, and leave a trace of what they sampled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import InfrastructureError, Refused, UsageError
from ...result import Usage
from ...task import Task
from .. import completion
from ..endpoint import Endpoint
from ..faults import NotFound
from ..limiter import CallLimiter
from ..protocol import ContextWindowExceeded
from .call_format import call_parser
from .chat_template import ChatTemplate
from .conversation import TokenConversation
from .dialects import DIALECTS, TEMPLATE_KEY, BadAnswer, Dialect, Protocols, Sampled, check_parameters, dialect_of
from .errors import TemplateError
from .too_long import ask_or_find_too_long
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
    dialect: Dialect
    template: ChatTemplate
    end_of_turn: tuple[int, ...]
    stop_tokens: list[int]


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

        Raises UsageError for settings that cannot work, Refused when nobody answers.
        """
        if self._ready is None or (self._ready.done() and (self._ready.cancelled() or self._ready.exception())):
            self._ready = asyncio.ensure_future(self._prepare())
        return await asyncio.shield(self._ready)

    async def _prepare(self) -> _Ready:
        call_parser(self.settings.tool_call_parser)
        tokenizer = await asyncio.to_thread(self.settings.load_tokenizer)
        extra_body = self.settings.extra_body or {}
        paths = await self._paths() if self.settings.protocol == "auto" else {}
        dialect = self._dialect(paths)
        check_parameters(dialect, extra_body)
        try:
            template = await asyncio.to_thread(ChatTemplate, tokenizer, extra_body.get(TEMPLATE_KEY))
        except TemplateError as error:
            raise UsageError(str(error)) from None
        if _DETOKENIZE in paths:
            await self._check_tokenizer(template)
        closing, stopping = await asyncio.to_thread(template.endings)
        return _Ready(dialect, template, closing, stopping)

    async def _paths(self) -> Mapping[str, Any]:
        """Return what the server has at its paths, as it says itself."""
        url = f"{self.root}/openapi.json"
        try:
            return dict((await self.endpoint.get(url))["paths"])
        except Refused as error:
            raise UsageError(f"{_UNDETECTED} ({error})") from None
        except InfrastructureError as error:
            if not self.endpoint.answered:
                raise Refused(str(error)) from None
            raise UsageError(f"{_UNDETECTED} ({error})") from None
        except (KeyError, TypeError, ValueError):
            raise UsageError(f"{_UNDETECTED} ({url} has no paths)") from None

    def _dialect(self, paths: Mapping[str, Any]) -> Dialect:
        if self.settings.protocol != "auto":
            return DIALECTS[self.settings.protocol]
        dialect = dialect_of(paths)
        if dialect is None:
            raise UsageError(f"{_UNDETECTED} ({self.root}/openapi.json names neither /generate nor /v1/completions)")
        return dialect

    async def _check_tokenizer(self, template: ChatTemplate) -> None:
        """Raise UsageError when the server reads another text in the ids of one. One that does not say is believed."""
        text = "The quick brown fox: 1 + 1 = 2"
        try:
            body = {"model": self.name, "tokens": template.encode(text)}
            read = (await self.endpoint.post(self.root + _DETOKENIZE, body, patient=False))["prompt"]
        except (InfrastructureError, KeyError, TypeError):
            return
        if isinstance(read, str) and read.strip() != text:
            raise UsageError(
                f"the tokenizer is not that of the server's model: what is {text!r} to the one is {read[:60]!r} to the "
                "other; name the right one with env.tokenizer_name"
            )

    @property
    def root(self) -> str:
        """The server's address without `/v1`."""
        return self.endpoint.address.removesuffix("/v1")

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
            raise UsageError(f"{TEMPLATE_KEY} hold for a whole run: they belong into env.extra_body")
        more["stop_token_ids"] = sorted({*ready.stop_tokens, *(more.get("stop_token_ids") or ())})
        max_tokens = parameters.get("max_tokens")
        longest = self.settings.longest()
        if longest is not None:
            left = longest - len(prompt)
            if left < 1:
                raise ContextWindowExceeded(f"{len(prompt)} tokens, and a sequence may have {longest}")
            max_tokens = left if max_tokens is None else min(max_tokens, left)
        answer = await self._answer(ready.dialect, prompt, parameters.get("temperature"), max_tokens, more)
        sampled = ready.dialect.read(answer, prompt)
        if (unknown := ready.template.unknown(sampled.ids)) is not None:
            raise BadAnswer(
                f"the server sampled token {unknown}, which the tokenizer does not have: is it that of the server's "
                "model (env.tokenizer_name)?"
            )
        return sampled

    async def _answer(
        self,
        dialect: Dialect,
        prompt: Sequence[int],
        temperature: float | None,
        max_tokens: int | None,
        more: dict[str, Any],
    ) -> Any:
        where = self.root + dialect.path
        if dialect.below_base:
            # One that was found by its list of paths stands below /v1, whether the address has that or not.
            base = f"{self.root}/v1" if self.settings.protocol == "auto" else self.endpoint.address
            where = base + dialect.path

        def ask(patient: bool) -> Awaitable[Any]:
            body = dialect.body(self.name, prompt, temperature, max_tokens, more)
            return self.endpoint.post(where, body, patient=patient)

        def sample_one(ids: Sequence[int]) -> Awaitable[Any]:
            other = {key: value for key, value in more.items() if key != "min_tokens"}
            return self.endpoint.post(where, dialect.body(self.name, ids, temperature, 1, other), patient=False)

        try:
            return await (ask(True) if dialect.tells_too_long else ask_or_find_too_long(prompt, ask, sample_one))
        except NotFound as error:
            raise Refused(
                f"{where} is not there, or has no model {self.name!r} (404: {error.said}): check openai.base_url, "
                f"openai.model_name, and openai.token_protocol ({dialect.name})"
            ) from None
        except Refused:
            raise
        except InfrastructureError as error:
            if self.endpoint.answered:
                raise
            raise Refused(str(error)) from None


#: Where `vllm serve` gives the text of ids (vllm/entrypoints/serve/tokenize).
_DETOKENIZE = "/detokenize"

_UNDETECTED = (
    "cannot tell how this server takes token ids; set openai.token_protocol to vllm_generate (Atropos's vLLM server), "
    "sglang, or completions (vllm serve)"
)


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
        said = self._message(ready, conversation, sampled, before, tools)
        answer = {"role": "assistant", "content": said.content, "tool_calls": list(said.tool_calls or ())}
        conversation.answered(prompt, messages, answer, sampled)
        reason = sampled.finish_reason
        if reason == "stop" and said.tool_calls:
            reason = "tool_calls"
        usage = completion.Tokens(len(prompt.ids), len(sampled.ids))
        return completion.Completion([completion.Choice(said, reason)], usage)

    def _message(
        self,
        ready: _Ready,
        conversation: TokenConversation,
        sampled: Sampled,
        before: str,
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> completion.Message:
        parser = call_parser(self._source.settings.tool_call_parser)(tools)
        spoken = sampled.ids[:-1] if conversation.stop_token(sampled) is not None else sampled.ids
        text = ready.template.decode(spoken)
        cut_off = sampled.finish_reason == "length"
        reasoning, rest = parser.split_reasoning(text, prompt=before, cut_off=cut_off)
        # Without tools there is nothing to call.
        content, calls = parser.parse(rest) if tools else (rest, [])
        return completion.Message(content or None if calls else content, calls or None, reasoning_content=reasoning)

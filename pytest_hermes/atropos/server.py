"""Who answers an environment: the project's own models instead of Atropos's servers.

Atropos's OpenAI server retries every error nine times, a refused key as well, and tells it as a nested RetryError; the
project's endpoint knows which ones pass, and says what went wrong.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from atroposlib.envs.server_handling.server_baseline import APIServer, APIServerConfig

from ..errors import FatalError, InfrastructureError, UsageError
from ..models.builtin import BUILTIN
from ..models.clock import request_waits
from ..models.endpoint import Endpoint
from ..models.keys import AGENT, OPENAI, find_address
from ..models.limiter import CallLimiter
from ..models.protocol import Model, ModelSource
from ..models.retry import RetryPolicy
from ..models.tokens.dialects import Protocols
from ..models.tokens.model import TokenSettings, TokenSource
from ..result import Usage
from ..task import Task

if TYPE_CHECKING:
    from atroposlib.envs.server_handling.server_manager import ServerManager

#: Values of `server_type` for servers that tell the tokens they sample.
TOKEN_SERVERS = ("vllm", "sglang")

#: Tries to reach a server that has not answered anything yet: about three seconds.
_FIRST_CONTACT = 3


class HermesServer(APIServer):  # type: ignore[misc,unused-ignore]
    """One server of an environment, asked by chat completions, or by token ids where it tells those it samples."""

    def __init__(self, config: APIServerConfig, reasoning_config: Any = None) -> None:
        super().__init__(config, reasoning_config=reasoning_config)
        #: How it is asked by token ids, if it is one of vLLM or SGLang.
        self.tokens: TokenSettings | None = None
        self._source: ModelSource | None = None

    @property
    def source(self) -> ModelSource:
        """Where its models come from. Raises UsageError when nobody would answer."""
        if self._source is None:
            self._source = model_source(self.config, os.environ, self.tokens)
        return self._source

    async def chat_completion(self, **parameters: Any) -> Any:
        """Return the answer to `messages`. `split="eval"` uses the slots for evaluations.

        Raises FatalError, which ends a run, when nobody ever answered; else what `Model.chat_completion` raises.
        """
        parameters.pop("model", None)
        evaluation = parameters.pop("split", "train") != "train"
        slots = self.eval_sem if evaluation else self.sem
        parameters = self._inject_reasoning_kwargs(parameters)
        # The server gives the slots.
        if slots.locked() and isinstance(self.source, Endpoint | TokenSource):
            request_waits(asyncio.get_running_loop().time())
        async with slots:
            started = time.time()
            answer = await self._ask(parameters)
            timings = self.eval_request_timings if evaluation else self.request_timings
            timings.append(time.time() - started)
            del timings[: -self.config.rolling_buffer_length]
            return answer

    async def _ask(self, parameters: dict[str, Any]) -> Any:
        source = self.source
        if isinstance(source, TokenSource):
            return await source.for_task().chat_completion(**parameters)
        if not isinstance(source, Endpoint):
            return await _taskless(source).chat_completion(**parameters)
        count = parameters.get("n") or 1
        if count > 1 and self.config.n_kwarg_is_ignored:
            parameters = {**parameters, "n": 1}
            answers = await asyncio.gather(*(self._ask_endpoint(source, parameters) for _ in range(count)))
            answers[0].choices.extend(choice for answer in answers[1:] for choice in answer.choices)
            return answers[0]
        return await self._ask_endpoint(source, parameters)

    async def _ask_endpoint(self, endpoint: Endpoint, parameters: dict[str, Any]) -> Any:
        try:
            return await endpoint.chat_completion(**parameters)
        except FatalError:
            raise
        except InfrastructureError as error:
            if endpoint.answered:
                raise
            raise FatalError(str(error)) from None

    async def check_server_status_task(self, chat_completion: bool = True) -> None:
        """Not used: Atropos's own sends the model a chat every second, whoever pays for it."""

    async def _chat_completion_wrapper(self, **parameters: Any) -> Any:
        return await self.chat_completion(**parameters)

    async def _completion_wrapper(self, **parameters: Any) -> Any:
        raise UsageError("this server answers chat completions only: use server.chat_completion(messages=…)")

    async def _tokens_and_logprobs_completion_wrapper(self, **parameters: Any) -> Any:
        raise UsageError("chat completions do not return token ids")

    async def close(self) -> None:
        if self._source is not None:
            await self._source.close()


def _taskless(source: ModelSource) -> Model:
    if source.name == "nop":
        return source.for_task(Task(id="any", prompt=""))
    raise UsageError(f"the model {source.name!r} plays the solutions of tasks; it cannot answer anything else")


def model_source(
    config: APIServerConfig, environ: Mapping[str, str], tokens: TokenSettings | None = None
) -> ModelSource:
    """Return the source of the server's model. Raises UsageError when there is no endpoint for it, or no key.

    With `tokens`, servers of a type that tells token ids are asked by them.
    """
    model, base_url = config.model_name, config.base_url or None
    if base_url is None and model in BUILTIN:
        return BUILTIN[model]()
    environ = dict(environ)
    if config.api_key:
        base_url = base_url or environ.get("OPENAI_BASE_URL") or OPENAI
        environ[AGENT.api_key] = config.api_key
    endpoint = Endpoint(
        model,
        find_address(model, base_url, environ),
        calls=CallLimiter(config.num_max_requests_at_once),
        policy=RetryPolicy(request_timeout=config.timeout, first_contact_tries=_FIRST_CONTACT),
    )
    if tokens is None or config.server_type not in TOKEN_SERVERS:
        return endpoint
    protocol: Protocols = getattr(config, "token_protocol", "auto")
    if protocol == "auto" and config.server_type == "sglang":
        protocol = "sglang"
    return TokenSource(endpoint, replace(tokens, protocol=protocol))


class ServedSource:
    """The models of an environment's rollouts: its servers, whichever is least busy, or a built-in one."""

    def __init__(self, manager: ServerManager) -> None:
        self._manager = manager
        self._started = 0

    @property
    def _first(self) -> ModelSource:
        server = self._manager.servers[0]
        if not isinstance(server, HermesServer):
            raise UsageError(f"rollouts need a HermesServer, not a {type(server).__name__}")
        return server.source

    @property
    def name(self) -> str:
        return self._first.name

    @property
    def address(self) -> str:
        return self._first.address

    @property
    def calls(self) -> CallLimiter | None:
        return self._first.calls

    def for_task(self, task: Task) -> Model:
        source = self._first
        if isinstance(source, Endpoint):
            # Which asks the one that is least busy.
            return cast(Model, self._manager)
        if tellers := self._tellers:
            # One after the other, and each rollout with one of them, which has its beginning in its cache.
            self._started += 1
            source = tellers[self._started % len(tellers)]
        return source.for_task(task)

    @property
    def _tellers(self) -> list[TokenSource]:
        sources = (server.source for server in self._manager.servers if isinstance(server, HermesServer))
        return [source for source in sources if isinstance(source, TokenSource)]

    async def prepare(self) -> list[str]:
        """Return how the servers that tell tokens are spoken to, found out now. Raises what their `prepare` does."""
        return [(await source.prepare()).dialect.name for source in self._tellers]

    def priced(self, usage: Usage) -> Usage:
        return self._first.priced(usage)

    async def close(self) -> None:
        for server in self._manager.servers:
            if isinstance(server, HermesServer):
                await server.close()

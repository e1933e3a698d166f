"""Any OpenAI-compatible endpoint: what is asked there, with which key, and what is made of the answers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..core.redact import Redactor
from ..result import Usage
from ..task import Task
from . import retry
from .aiohttp_transport import AiohttpTransport
from .chat import PATH, Chat
from .completion import Completion
from .faults import Asked, status_fault, transport_fault
from .keys import Address, headers_for
from .limiter import CallLimiter
from .patience import Patience
from .prices import with_list_price
from .protocol import Model
from .retry import RetryPolicy
from .transport import Request, Transport, TransportError, fetch


class Endpoint:
    """One model at one endpoint; a single connection pool serves every attempt of a run."""

    def __init__(
        self,
        model: str,
        address: Address,
        *,
        calls: CallLimiter | None = None,
        policy: RetryPolicy | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Ask `model` at `address`; `calls` is shared with whoever else asks there.

        Raises UsageError when this machine's proxies or certificates do not let anything be asked there.
        """
        self.name = model
        self.address = address.base_url
        self.calls = calls or CallLimiter()
        #: Whether anything ever came back.
        self.answered = False
        self._headers = headers_for(address, os.environ)
        secrets = [address.api_key] if address.api_key else []
        self._asked = Asked(
            address.base_url,
            model,
            address.key_name,
            address.api_key is not None,
            Redactor(secrets).text,
            address.names,
        )
        self._chat = Chat(self._asked, self._send)
        self._patience = Patience(self.calls, policy or retry.DEFAULT)
        self._transport = transport or AiohttpTransport()
        self._transport.check(self.address)

    def for_task(self, task: Task) -> Model:
        return self

    def priced(self, usage: Usage) -> Usage:
        return with_list_price(usage, self.name, self.address)

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Completion:
        """Return the model's answer. Faults that may pass are waited out, and not on the agent's time."""
        return await self._chat.ask(messages, parameters)

    async def _send(self, body: Mapping[str, Any]) -> Completion:
        async def ask() -> Completion:
            return self._chat.read(await self._request(PATH, body))

        return await self._patience.see_through(ask)

    @property
    def adaptations(self) -> tuple[str, ...]:
        """What is sent otherwise than it was told to, because the endpoint refuses it, a line each."""
        return self._chat.adaptations

    async def post(self, path: str, body: Mapping[str, Any], *, patient: bool = True) -> Any:
        """Return the JSON that the endpoint answers to `body` at `path`, below the base URL or a URL of its own.

        Faults that may pass are waited out; a 500 is not unless `patient`, but raises ServerFailed. Raises what
        `chat_completion` raises.
        """

        async def ask() -> Any:
            return await self._request(path, body)

        return await self._patience.see_through(ask, patient=patient)

    async def get(self, path: str) -> Any:
        """Return the JSON that stands at `path`, as `post` does."""

        async def ask() -> Any:
            return await self._request(path)

        return await self._patience.see_through(ask)

    async def _request(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask once, and return the JSON of a good answer, or its text if it is none."""
        request = Request(
            path if "://" in path else self.address + path,
            body,
            self._headers,
            self._patience.policy.request_timeout,
            self._patience.policy.longest_answer,
        )
        try:
            answer = await fetch(self._transport, request)
        except TransportError as error:
            # Without a cause: what a library says may hold the key.
            raise transport_fault(self._asked, error) from None
        self.answered = True
        if not 200 <= answer.status < 300:
            raise status_fault(self._asked, answer.status, answer.body, answer.text or answer.reason, answer.headers)
        return answer.body

    async def close(self) -> None:
        await self._transport.close()

"""Any OpenAI-compatible endpoint, by the `openai` package's async client."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..core.one_line import first_line
from ..core.redact import Redactor
from ..errors import InfrastructureError
from ..result import Usage
from ..task import Task
from . import retry
from .chat import PATH, Chat, not_a_completion
from .clock import count_retry, request_answered, request_sent, request_waits
from .completion import Completion
from .faults import (
    CONNECT_SECONDS,
    Asked,
    Fault,
    ServerFailed,
    connection_fault,
    status_fault,
)
from .keys import OPENAI, Address
from .limiter import CallLimiter
from .prices import with_list_price
from .protocol import Model
from .retry import RetryPolicy

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = logging.getLogger("pytest_hermes.models")

#: Seconds between two warnings that requests are made again.
_TELL_EVERY = 60


class Endpoint:
    """One model at one endpoint; a single connection pool serves every attempt of a run."""

    def __init__(
        self,
        model: str,
        address: Address,
        *,
        calls: CallLimiter | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        """Ask `model` at `address`; `calls` is shared with whoever else asks there."""
        self.name = model
        self.address = address.base_url
        self.calls = calls or CallLimiter()
        self._policy = policy or retry.DEFAULT
        self._key = address.api_key
        secrets = [self._key, self._key.strip()] if self._key else []
        self._asked = Asked(
            address.base_url, model, address.key_name, self._key is not None, Redactor(secrets).text, address.names
        )
        self._chat = Chat(self._asked, self._send)
        self._client: AsyncOpenAI | None = None
        #: Whether anything ever came back.
        self.answered = False
        self._tell_next = 0.0

    def for_task(self, task: Task) -> Model:
        return self

    def priced(self, usage: Usage) -> Usage:
        return with_list_price(usage, self.name, self.address)

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Completion:
        """Return the model's answer. Faults that may pass are waited out, and not on the agent's time."""
        return await self._chat.ask(messages, parameters)

    async def _send(self, body: Mapping[str, Any]) -> Completion:
        async def ask(client: Any) -> Completion:
            answer = await client.post(PATH, cast_to=object, body=body)
            self.answered = True
            return self._chat.read(answer)

        answer: Completion = await self._patiently(ask)
        return answer

    @property
    def adaptations(self) -> tuple[str, ...]:
        """What is sent otherwise than it was told to, because the endpoint refuses it, a line each."""
        return self._chat.adaptations

    async def post(self, path: str, body: Mapping[str, Any], *, patient: bool = True) -> Any:
        """Return the JSON that the endpoint answers to `body` at `path`, below the base URL or a URL of its own.

        Faults that may pass are waited out; a 500 is not unless `patient`, but raises ServerFailed. Raises what
        `chat_completion` raises.
        """
        return await self._patiently(lambda client: client.post(path, cast_to=object, body=body), patient)

    async def get(self, path: str) -> Any:
        """Return the JSON that stands at `path`, as `post` does."""
        return await self._patiently(lambda client: client.get(path, cast_to=object))

    async def _patiently(self, ask: Callable[[Any], Awaitable[Any]], patient: bool = True) -> Any:
        now = asyncio.get_running_loop().time
        first, tried = now(), 0
        while True:
            if self.calls.is_full:  # a place in flight is the endpoint's to give
                request_waits(now())
            async with self.calls.slot() as epoch:
                began = now()
                request_sent(began)
                try:
                    answer = await self._request(ask)
                except Fault as fault:
                    if fault.status == 500 and not patient:
                        request_answered(began)
                        raise ServerFailed(str(fault), kind="endpoint") from None
                    failed = fault
                    if fault.status in retry.OVERLOADED:
                        self.calls.overloaded(epoch)
                except BaseException:
                    request_answered(began)
                    raise
                else:
                    request_answered(began)
                    self.calls.succeeded(epoch)
                    return answer
            request_waits(began)
            tried += 1
            wait = self._policy.wait(tried, now() - first, failed.retry_after)
            if wait is None or self._is_a_wrong_address(failed, tried):
                raise self._gave_up(failed, tried)
            count_retry()
            self._tell(failed, now(), wait)
            await asyncio.sleep(wait)

    def _tell(self, fault: Fault, now: float, wait: float) -> None:
        """Say, now and then, what is waited for: it may be a quarter of an hour."""
        if now >= self._tell_next:
            self._tell_next = now + _TELL_EVERY
            log.warning("%s; next try in %.1f s, at most %s retries", fault, wait, self._policy.tries - 1)

    def _is_a_wrong_address(self, fault: Fault, tried: int) -> bool:
        return fault.unreachable and not self.answered and tried >= self._policy.first_contact_tries

    def _gave_up(self, fault: Fault, tried: int) -> InfrastructureError:
        if fault.retry_after is not None and fault.retry_after > self._policy.total:
            why = f"it asks to wait {fault.retry_after:.0f} s"
        else:
            why = f"{tried} tries"
        return InfrastructureError(f"{fault} ({why})", kind="endpoint")

    async def _request(self, ask: Callable[[Any], Awaitable[Any]]) -> Any:
        """Ask once. What is raised has no cause attached: a library's own text may hold the key."""
        import openai

        client = self._connect()
        limit = self._policy.request_timeout
        try:
            # The client's own time-out starts anew with each byte: an answer that trickles in would never end.
            async with asyncio.timeout(limit):
                answer = await ask(client)
        except openai.APIStatusError as error:
            self.answered = True
            response = error.response
            message = response.text or response.reason_phrase
            raise status_fault(self._asked, error.status_code, error.body, message, response.headers) from None
        except TimeoutError:
            raise Fault(f"{self.address} did not answer within {limit:g} s") from None
        except openai.APIConnectionError as error:
            raise connection_fault(self._asked, error) from None
        except json.JSONDecodeError as error:
            raise not_a_completion(self._asked, error.doc) from None
        except openai.OpenAIError as error:
            message = self._asked.clean(str(error))
            raise InfrastructureError(f"{self.address}: {first_line(message)}", kind="endpoint") from None
        self.answered = True
        return answer

    def _connect(self) -> AsyncOpenAI:
        if self._client is None:
            import openai

            # The package refuses to work without a key; servers that want none ignore this one.
            key = self._key or "none"
            self._client = openai.AsyncOpenAI(
                base_url=self.address,
                api_key=key,
                default_headers=self._own_headers(key, openai.Omit()),
                max_retries=0,
                timeout=openai.Timeout(None, connect=CONNECT_SECONDS),
            )
        return self._client

    def _own_headers(self, key: str, omit: Any) -> dict[str, Any]:
        """Hold back what the package would send to any base URL although the environment holds it for OpenAI."""
        if self.address in (OPENAI, os.environ.get("OPENAI_BASE_URL", "").rstrip("/")):
            return {}
        custom = os.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines()
        names = [line.partition(":")[0].strip() for line in custom if ":" in line]
        return {
            **dict.fromkeys((*names, "OpenAI-Organization", "OpenAI-Project"), omit),
            "Authorization": f"Bearer {key}",
        }

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

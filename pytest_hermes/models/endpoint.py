"""Any OpenAI-compatible endpoint, by the `openai` package's async client."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ..errors import InfrastructureError
from ..task import Task
from .keys import OPENAI, Address
from .protocol import ContextWindowExceeded, Model

if TYPE_CHECKING:
    from openai import AsyncOpenAI

#: How endpoints say that a conversation is too long: OpenAI's error code, and the words of vLLM, SGLang,
#: llama.cpp, Anthropic and OpenRouter, which send a plain 400 (or 413).
_TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|context (window|length|size)|exceed_context_size"
    r"|prompt is too long|input is too long|too many tokens|longer than the model",
    re.IGNORECASE,
)


def first_line(text: str, limit: int = 300) -> str:
    """Return the first line of `text` that says something, cut to `limit` characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= limit else line[: limit - 1] + "…"


class Endpoint:
    """One model at one endpoint; a single connection pool serves every attempt of a run."""

    def __init__(self, model: str, address: Address) -> None:
        self.name = model
        self.address = address.base_url
        self._key = address.api_key
        self._client: AsyncOpenAI | None = None

    def for_task(self, task: Task) -> Model:
        return self

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Any:
        import openai

        client: Any = self._connect()
        try:
            completion = await client.chat.completions.create(model=self.name, messages=messages, **parameters)
        except openai.APIStatusError as error:
            said = _body_text(error)
            if error.status_code in (400, 413) and _TOO_LONG.search(said):
                raise ContextWindowExceeded(first_line(said)) from error
            raise InfrastructureError(
                f"{self.address} answered {error.status_code}: {first_line(said)}", kind="endpoint"
            ) from error
        except openai.APITimeoutError as error:
            raise InfrastructureError(f"{self.address} did not answer in time", kind="endpoint") from error
        except openai.APIConnectionError as error:
            raise InfrastructureError(
                f"cannot reach {self.address}: {first_line(str(error.__cause__ or error))}", kind="endpoint"
            ) from error
        except openai.OpenAIError as error:
            raise InfrastructureError(f"{self.address}: {first_line(str(error))}", kind="endpoint") from error
        return self._checked(completion)

    def _checked(self, completion: Any) -> Any:
        """An endpoint may answer 200 with a login page, or with an error in the body: neither is a completion."""
        choices = getattr(completion, "choices", None)
        if choices and getattr(choices[0], "message", None) is not None:
            return completion
        said = completion if isinstance(completion, str) else str(getattr(completion, "error", None) or completion)
        if _TOO_LONG.search(said):
            raise ContextWindowExceeded(first_line(said))
        raise InfrastructureError(
            f"the answer of {self.address} is not a chat completion: {first_line(said)!r}", kind="endpoint"
        )

    def _connect(self) -> AsyncOpenAI:
        if self._client is None:
            import openai

            # The package refuses to work without a key; servers that want none ignore this one.
            key = self._key or "none"
            self._client = openai.AsyncOpenAI(
                base_url=self.address, api_key=key, default_headers=self._own_headers(key, openai.Omit())
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


def _body_text(error: Any) -> str:
    """Return what the endpoint said: the error's message in its body, else the body."""
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, dict) and inner.get("message"):
            code = inner.get("code")
            return f"{inner['message']}" + (f" ({code})" if isinstance(code, str) else "")
        return str(inner)
    if isinstance(body, str) and body.strip():
        return body
    return str(error.response.text or error.message)

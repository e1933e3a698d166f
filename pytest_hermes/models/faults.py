"""What went wrong with a request: said in one line, and whether another try may help."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.one_line import first_line
from ..errors import FatalError, InfrastructureError
from .keys import Names
from .protocol import ContextWindowExceeded
from .retry import is_transient, read_retry_after

#: How endpoints say that a conversation is too long: OpenAI's error code, and the words of vLLM, SGLang,
#: llama.cpp, Anthropic and OpenRouter, which send a plain 400 (or 413).
_TOO_LONG = re.compile(
    r"context_length_exceeded|maximum context length|context (window|length|size)|exceed_context_size"
    r"|prompt is too long|input is too long|too many tokens|longer than the (maximum )?model",
    re.IGNORECASE,
)

#: Seconds for a connection to be made, of those for the whole request.
CONNECT_SECONDS = 30.0

_TITLE = re.compile(r"<title>\s*([^<]+?)\s*</title>", re.IGNORECASE)

#: OpenAI's code for an account without credit, which comes with a 429 that no waiting helps against.
_NO_CREDIT = "insufficient_quota"


@dataclass(frozen=True)
class Asked:
    """Who was asked for what, and whose key that needs: what advice has to name."""

    address: str
    model: str
    #: The variable that holds the key, or would.
    key_name: str
    has_key: bool
    #: Takes the key out of a text: an endpoint that refuses one likes to repeat it.
    clean: Callable[[str], str]
    names: Names


class Fault(Exception):
    """A request failed in a way that may pass."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        unreachable: bool = False,
    ) -> None:
        super().__init__(message)
        #: Of the answer, if there was one.
        self.status = status
        #: Seconds after which the endpoint wants to be asked again, if it said so.
        self.retry_after = retry_after
        #: Whether there was nobody to speak to.
        self.unreachable = unreachable


class NotFound(FatalError):
    """A server has not what it was asked for (404). `said` is how it put it."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


class ServerFailed(InfrastructureError):
    """A server failed by a request (500), which is mostly what it does with one that it does not expect."""


def status_fault(asked: Asked, status: int, body: Any, text: str, headers: Mapping[str, str]) -> Exception:
    """Return what an answer with an error's status means; `body` is its JSON, if it had any, `text` the whole."""
    # The client hands over `error` of a body that has it, and the text of one that is no JSON.
    detail, code = (body, "") if isinstance(body, str) and body.strip() != text.strip() else _read_error(body)
    if not detail:
        title = _TITLE.search(text)  # the first line of a proxy's page says nothing
        detail = title[1] if title else text
    detail = first_line(asked.clean(detail)) or "an empty body"
    if status in (400, 413) and _TOO_LONG.search(f"{detail} {code}"):
        return ContextWindowExceeded(detail)
    if status in (401, 402, 403, 404) or code == _NO_CREDIT:
        refusal = f"{_refusal(asked, 402 if code == _NO_CREDIT else status)} ({status}: {detail})"
        return NotFound(refusal, detail) if status == 404 else FatalError(refusal)
    message = f"{asked.address} answered {status}: {detail}" + (f" ({code})" if code else "")
    if is_transient(status):
        retry_after = read_retry_after(headers.get("retry-after"))
        return Fault(message, status=status, retry_after=retry_after)
    return InfrastructureError(message, kind="endpoint")


def _refusal(asked: Asked, status: int) -> str:
    where, key = asked.address, asked.key_name
    if status == 401:
        return f"{where} refused the key: check {key}" if asked.has_key else f"{where} needs a key: set {key}"
    if status == 402:
        return f"{where} has no credit left for this key: add some, or set another {key}"
    if status == 403:
        return f"{where} does not allow this key to use {asked.model!r}: check {key} and {asked.names.model}"
    return (
        f"{where} has no model {asked.model!r}: check {asked.names.model}, and that {asked.names.base_url} is the "
        "base address of /chat/completions"
    )


def check_completion(asked: Asked, completion: Any) -> Any:
    """Return `completion` if it is one.

    An endpoint may answer 200 with a login page, or with an error in the body: neither is a completion.
    """
    choices = getattr(completion, "choices", None)
    choice = choices[0] if isinstance(choices, list) and choices else None
    error = getattr(completion, "error", None) or getattr(choice, "error", None)
    if error is None and hasattr(getattr(choice, "message", None), "content"):
        return completion
    if isinstance(error, dict) and isinstance(error.get("code"), int):
        # OpenRouter sends what its upstream answered, once its own 200 is on its way.
        raise status_fault(asked, error["code"], {"error": error}, str(error), {})
    raise not_a_completion(asked, completion if isinstance(completion, str) else _shown(error or completion))


def not_a_completion(asked: Asked, body: str) -> Exception:
    """Return what a 200 means if its `body` is not a completion."""
    body = asked.clean(body)
    if _TOO_LONG.search(body):
        return ContextWindowExceeded(first_line(body))
    line = repr(first_line(body)) if body.strip() else "an empty body"
    return InfrastructureError(f"the answer of {asked.address} is not a chat completion: {line}", kind="endpoint")


def _shown(value: Any) -> str:
    """A completion without choices is mostly fields that are None."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(exclude_none=True, warnings=False)
    return _read_error(value)[0] or str(value)


def _read_error(body: Any) -> tuple[str, str]:
    """Return the message and the code of an error's JSON body, as far as it has them."""
    inner = body.get("error") or body if isinstance(body, dict) else None
    if not isinstance(inner, dict):
        return str(inner or ""), ""
    code = inner.get("code")
    message = inner.get("message") or inner or ""
    return str(message), code if isinstance(code, str) else ""


def connection_fault(asked: Asked, error: BaseException) -> Fault:
    """Return what broke a connection, in the operating system's words where it has any."""
    chain = list(_causes(error))
    reason = next((_os_reason(cause) for cause in reversed(chain) if _os_reason(cause)), "")
    detail = reason or next((first_line(str(cause)) for cause in reversed(chain) if str(cause).strip()), "")
    # By name: which of httpx and httpx2 raises them depends on the version of openai.
    kinds = {type(cause).__name__ for cause in chain}
    unreachable = not kinds.isdisjoint({"ConnectError", "ConnectTimeout"})
    if "ConnectTimeout" in kinds:
        detail = f"no connection within {CONNECT_SECONDS:g} s"
    broke = f"cannot reach {asked.address}" if unreachable else f"the connection to {asked.address} broke"
    return Fault(f"{broke}: {asked.clean(detail) or type(error).__name__}", unreachable=unreachable)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it came from, down to the first cause."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        # A group has one for each of the host's addresses.
        error = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__


def _os_reason(error: BaseException) -> str:
    if not isinstance(error, OSError):
        return ""
    if isinstance(error, ssl.SSLError | socket.gaierror):  # their numbers are not the system's
        return str(getattr(error, "verify_message", "") or error.strerror or "")
    # asyncio puts its own words where the system's should be.
    return os.strerror(error.errno) if error.errno else ""

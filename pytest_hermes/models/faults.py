"""What went wrong with a request: said in one line, and whether another try may help."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..core.one_line import first_line
from ..errors import FatalError, HermesError, InfrastructureError
from .error_body import ErrorBody, read_error
from .error_phrases import meaning_of
from .keys import Names
from .protocol import ContextWindowExceeded, NoAnswer
from .retry import is_transient, read_retry_after
from .transport import Failure, TransportError

_TITLE = re.compile(r"<title>\s*([^<]+?)\s*</title>", re.IGNORECASE)

#: OpenAI's code for an account without credit, which comes with a 429 that no waiting helps against.
_NO_CREDIT = "insufficient_quota"

#: Statuses by which an endpoint says that it does not take a request as it is.
_NOT_TAKEN = (400, 422)


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
        failure: Failure | None = None,
    ) -> None:
        super().__init__(message)
        #: Of the answer, if there was one.
        self.status = status
        #: Seconds after which the endpoint wants to be asked again, if it said so.
        self.retry_after = retry_after
        #: What became of the request, if there was no answer.
        self.failure = failure


class WrongAddress(Exception):
    """What is at an address, or on the way to it, is not the endpoint: another try cannot change that."""


class NotFound(FatalError):
    """A server has not what it was asked for (404). `said` is how it put it."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


class ServerFailed(InfrastructureError):
    """A server failed by a request (500), which is mostly what it does with one that it does not expect."""


class BadRequest(InfrastructureError):
    """An endpoint does not take a request as it is (400, 422). `said` is its error, in which it may say why."""

    def __init__(self, message: str, said: ErrorBody) -> None:
        super().__init__(message, kind="endpoint")
        self.said = said


def status_fault(asked: Asked, status: int, body: Any, text: str, headers: Mapping[str, str]) -> Exception:
    """Return what an answer with an error's status means; `body` is its JSON, if it had any, `text` the whole."""
    said = ErrorBody() if isinstance(body, str) and body.strip() == text.strip() else read_error(body)
    detail = said.message
    if not detail:
        title = _TITLE.search(text)  # the first line of a proxy's page says nothing
        detail = title[1] if title else text
    detail = first_line(asked.clean(detail)) or "an empty body"
    if (about := about_conversation(status, detail, said)) is not None:
        return about
    if status in (401, 402, 403, 404) or said.code == _NO_CREDIT:
        refusal = f"{_refusal(asked, 402 if said.code == _NO_CREDIT else status)} ({status}: {detail})"
        return NotFound(refusal, detail) if status == 404 else FatalError(refusal)
    message = f"{asked.address} answered {status}: {detail}" + (f" ({said.code})" if said.code else "")
    if is_transient(status):
        retry_after = read_retry_after(headers.get("retry-after"))
        return Fault(message, status=status, retry_after=retry_after)
    if status in _NOT_TAKEN:
        return BadRequest(message, said if said.message else replace(said, message=detail))
    return InfrastructureError(message, kind="endpoint")


def about_conversation(status: int, detail: str, said: ErrorBody) -> HermesError | None:
    """Return what an error says about the conversation, None for one about something else."""
    # Of a long message only the beginning: some repeat what they were sent.
    match meaning_of(status, f"{detail} {said.code} {said.type}"):
        case "context":
            return ContextWindowExceeded(detail)
        case "filtered" | "malformed" as reason:
            return NoAnswer(detail, reason)
    return None


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


def transport_fault(asked: Asked, error: TransportError) -> Exception:
    """Return what it means that a request got no answer that can be read."""
    reason, where = asked.clean(error.reason), asked.address
    by = f" by the proxy {error.proxy}" if error.proxy else ""
    match error.failure:
        case "unreadable":
            return InfrastructureError(f"the answer of {where} cannot be read: {reason}", kind="endpoint")
        case "address":
            who = f"the proxy {error.proxy}, by which {where} is asked," if error.proxy else where
            return WrongAddress(f"{who} {reason}")
        case "unreachable":
            message = f"cannot reach {where}{by}: {reason}"
        case "broken":
            message = f"the connection to {where}{by} broke: {reason}"
        case "local":
            message = f"this machine cannot ask {where}: {reason}"
        case "late":
            message = f"{where} {reason}"
    return Fault(message, failure=error.failure)

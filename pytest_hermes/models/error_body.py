"""What the body of an error says, in each of the shapes that endpoints give it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Textual codes and types of errors, and the HTTP status that each stands for: OpenAI's and Anthropic's
#: (docs.anthropic.com/en/api/errors), and Google's (cloud.google.com/apis/design/errors).
_STATUSES = {
    **dict.fromkeys(("invalid_request_error", "bad_request", "context_length_exceeded", "invalid_argument"), 400),
    **dict.fromkeys(("failed_precondition", "content_filter", "content_policy_violation", "tool_use_failed"), 400),
    **dict.fromkeys(("authentication_error", "invalid_api_key", "unauthenticated", "unauthorized"), 401),
    **dict.fromkeys(("billing_error", "insufficient_quota", "insufficient_credits", "payment_required"), 402),
    **dict.fromkeys(("permission_error", "permission_denied", "forbidden"), 403),
    **dict.fromkeys(("not_found_error", "model_not_found", "not_found"), 404),
    **dict.fromkeys(("timeout", "timeout_error", "request_timeout"), 408),
    "request_too_large": 413,
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "rate_limited", "too_many_requests"), 429),
    **dict.fromkeys(("rate_limit", "resource_exhausted", "tokens_limit_reached"), 429),
    **dict.fromkeys(("server_error", "internal_server_error", "internal_error", "api_error", "internal"), 500),
    **dict.fromkeys(("bad_gateway", "upstream_error", "provider_error"), 502),
    **dict.fromkeys(("service_unavailable", "unavailable", "server_overloaded", "engine_overloaded_error"), 503),
    **dict.fromkeys(("gateway_timeout", "deadline_exceeded"), 504),
    **dict.fromkeys(("overloaded_error", "overloaded"), 529),
}


@dataclass(frozen=True)
class ErrorBody:
    """An error as far as its body tells it; what it does not tell is empty."""

    #: Of one line or more.
    message: str = ""
    #: A word such as `rate_limit_exceeded`, and a coarser one such as `invalid_request_error`.
    code: str = ""
    type: str = ""
    #: Which parameter of the request it is about.
    parameter: str = ""
    #: The HTTP status that it tells by a number or a word, whatever the answer's own was.
    status: int | None = None

    @property
    def text(self) -> str:
        """Message, code and type together, to look for words in."""
        return f"{self.message} {self.code} {self.type}"


def read_error(body: Any) -> ErrorBody:
    """Return what the JSON body of an error says: an object, a list of one (Google's), a text, or anything else."""
    inner = body = without_list(body)
    if isinstance(body, Mapping) and body.get("error"):
        inner = body["error"]
    if not isinstance(inner, Mapping):
        return ErrorBody(_text(inner))
    words = {name: inner.get(name) for name in ("code", "type", "status")}
    message = next((value for name in ("message", "detail", "msg") if (value := inner.get(name))), inner)
    return ErrorBody(
        message=_text(message),
        code=_word(words["code"]),
        type=_word(words["type"]) or _word(words["status"]),
        parameter=str(inner.get("param") or ""),
        status=next((status for status in map(_status, words.values()) if status is not None), None),
    )


def without_list(body: Any) -> Any:
    """Return a body without the list that Google's OpenAI-compatible API puts around errors."""
    return body[0] if isinstance(body, list) and len(body) == 1 and isinstance(body[0], Mapping) else body


def _word(value: object) -> str:
    return value if isinstance(value, str) and not value.isdigit() else ""


def _status(word: object) -> int | None:
    if isinstance(word, bool):
        return None
    if isinstance(word, str):
        number = int(word) if word.isascii() and word.isdigit() and len(word) == 3 else None
        return number if number is not None else _STATUSES.get(word.lower())
    return word if isinstance(word, int) and 100 <= word < 600 else None


def _text(value: Any) -> str:
    """Return a message as text. FastAPI's is a list that repeats what it was sent, at whatever length."""
    if isinstance(value, Mapping) and isinstance(value.get("detail"), list):
        value = value["detail"]
    if isinstance(value, list) and value and all(isinstance(item, Mapping) and "msg" in item for item in value):
        return "; ".join(f"{_path(item.get('loc'))}: {item['msg']}" for item in value)
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value)


def _path(location: Any) -> str:
    return ".".join(map(str, location)) if isinstance(location, list) else str(location or "")


def json_or_text(body: str) -> Any:
    """Return the JSON that a body is, or the body itself where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body

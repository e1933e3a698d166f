"""From the user's options to the source of a run's models."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import UsageError
from .builtin import BUILTIN
from .keys import AGENT, JUDGE, check_base_url, find_address
from .limiter import CallLimiter, CallLimiters
from .protocol import ModelSource
from .retry import RetryPolicy


def resolve_model(
    model: str | None,
    base_url: str | None,
    default: str | None,
    environ: Mapping[str, str],
    *,
    who: str,
    calls: CallLimiters | None = None,
    policy: RetryPolicy | None = None,
) -> ModelSource:
    """Return who answers: `model` if given, else `default`, the choice of `who` asks for users without a key.

    `oracle` and `nop` are built in unless a base URL says that an endpoint serves a model of that name.
    `calls` and `policy` are for endpoints: how much they are asked at once, and how often again after a fault.
    Raises UsageError when nobody would answer.
    """
    if model is None:
        if base_url is not None:
            raise UsageError(f"base URL {check_base_url(base_url)} needs a model: add --hermes-model=NAME")
        if default is None:
            raise UsageError(
                f"{who} needs a model: add --hermes-model=NAME and {AGENT.how_to_configure}; "
                "--hermes-model=oracle plays the reference solutions, nop does nothing"
            )
        model = default
    if base_url is None and model in BUILTIN:
        return BUILTIN[model]()
    from .endpoint import Endpoint

    address = find_address(model, base_url, environ)
    return Endpoint(model, address, calls=calls.at(address.base_url) if calls else None, policy=policy)


def resolve_judge(
    model: str | None, base_url: str | None, environ: Mapping[str, str], *, calls: CallLimiter, policy: RetryPolicy
) -> ModelSource | None:
    """Return the model that judges, None where none is named. Raises UsageError when nobody would answer."""
    if model is None:
        if base_url is None:
            return None
        raise UsageError(f"base URL {check_base_url(base_url, JUDGE)} needs a model: add {JUDGE.model}=NAME")
    if base_url is None and model in BUILTIN:
        raise UsageError(f"{model!r} cannot judge: name the model of an endpoint with {JUDGE.model}")
    from .endpoint import Endpoint

    return Endpoint(model, find_address(model, base_url, environ, JUDGE), calls=calls, policy=policy)

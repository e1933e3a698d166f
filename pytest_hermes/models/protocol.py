"""The seam for who answers: whoever has `chat_completion` is a model."""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

from ..errors import HermesError, InfrastructureError
from ..result import Usage
from ..sandbox.protocol import Sandbox
from ..task import Task
from .limiter import CallLimiter
from .tokens.trace import TokenTrace


class ContextWindowExceeded(HermesError):
    """The conversation no longer fits into the model's context window: the agent's own end, not a fault."""


class NoAnswer(InfrastructureError):
    """The endpoint works, but what its model answers to this conversation does not come through.

    `reason` is the agent's stop reason if asking again does not help: `filtered` or `malformed`.
    """

    def __init__(self, message: str, reason: Literal["filtered", "malformed"]) -> None:
        super().__init__(message, kind="endpoint")
        self.reason = reason


class Model(Protocol):
    """Answers conversations."""

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Any:
        """Return an OpenAI chat completion: an object, or JSON, with `choices[0].message`, `finish_reason`, `usage`.

        `parameters` may hold `tools`, `temperature`, `max_tokens`, `extra_body` and `n` (always 1).
        Raises ContextWindowExceeded, NoAnswer, FatalError, or another InfrastructureError (kind `endpoint`).
        """


@runtime_checkable
class Equipped(Protocol):
    """A model that brings files along, as the oracle does with its solutions."""

    async def equip(self, sandbox: Sandbox) -> None:
        """Put them into the agent's sandbox, which has been started, before the first answer.

        Raises OSError or InfrastructureError when that fails.
        """


@runtime_checkable
class Adapting(Protocol):
    """A source that learns from an endpoint's refusals how it wants to be asked."""

    @property
    def adaptations(self) -> tuple[str, ...]:
        """What it sends otherwise than it was told to, a line each."""


@runtime_checkable
class Traced(Protocol):
    """A model of one rollout that keeps the tokens it was given and sampled."""

    @property
    def trace(self) -> TokenTrace:
        """What there is so far; it grows with each answer."""


class ModelSource(Protocol):
    """Where the models of a run come from; one source, and one connection pool, serves all its attempts."""

    @property
    def name(self) -> str:
        """Stands in the header and in every record."""

    @property
    def address(self) -> str:
        """Where requests go, for the header; empty for models that live in this process."""

    @property
    def calls(self) -> CallLimiter | None:
        """How many calls may be in flight; None for models that no number of calls is too much for."""

    def for_task(self, task: Task) -> Model:
        """Return the model that answers one attempt of `task`. Raises Unsupported when it cannot answer this one."""

    def priced(self, usage: Usage) -> Usage:
        """Return the usage of one answer with what it cost, where that is not in it and can be known."""

    async def close(self) -> None:
        """Release connections."""

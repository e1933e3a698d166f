"""Models that live in this process: `oracle` plays a task's reference solution, `nop` does nothing.

They prove a benchmark sound without a key: every task must pass with `oracle` and fail with `nop`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from ..errors import Unsupported
from ..result import Usage
from ..task import Task
from . import completion
from .protocol import Model


@dataclass(frozen=True)
class Oracle:
    """Plays the reference solution as one terminal call, then says that it is done."""

    solution: str

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Any:
        if any(message["role"] == "assistant" for message in messages):
            return completion.text("Done.")
        return completion.call("call_solution", "terminal", {"command": self.solution})


class Nop:
    """Says that it is done, at once."""

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Any:
        return completion.text("Done.")


class OracleSource:
    name = "oracle"
    address = ""
    calls = None

    def for_task(self, task: Task) -> Model:
        if task.solution is None:
            raise Unsupported(f"task {task.id!r} has no reference solution for the oracle to play")
        return Oracle(task.solution)

    def priced(self, usage: Usage) -> Usage:
        return replace(usage, cost=Decimal(0))

    async def close(self) -> None: ...


class NopSource:
    name = "nop"
    address = ""
    calls = None

    def for_task(self, task: Task) -> Model:
        return Nop()

    def priced(self, usage: Usage) -> Usage:
        return replace(usage, cost=Decimal(0))

    async def close(self) -> None: ...


EMBEDDED: dict[str, type[OracleSource] | type[NopSource]] = {"oracle": OracleSource, "nop": NopSource}

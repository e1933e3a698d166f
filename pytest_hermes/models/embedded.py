"""Models that live in this process: `oracle` plays a task's reference solution, `nop` does nothing.

They prove a benchmark sound without a key: every task must pass with `oracle` and fail with `nop`.
"""

from __future__ import annotations

import asyncio
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, BinaryIO, cast

from ..dataset.harbor import resolved
from ..errors import Unsupported
from ..result import Usage
from ..sandbox.protocol import Sandbox
from ..sandbox.tar_commands import unpack
from ..sandbox.transfer import write_tar
from ..task import Solution, Task
from . import completion
from .protocol import Model

#: Where solutions of several files stand in a sandbox.
SOLUTION = "/solution"

#: Seconds that a solution may take: the agent's own limit ends it sooner.
_LONGEST = 86_400


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


@dataclass(frozen=True)
class OracleWithFiles:
    """Brings the reference solution's folder along, and runs its script."""

    solution: Solution
    env: Mapping[str, str]

    async def equip(self, sandbox: Sandbox) -> None:
        with tempfile.TemporaryFile(prefix="hermes-") as file:
            tar = cast(BinaryIO, file)
            await asyncio.to_thread(write_tar, self.solution.folder, tar, executable=self.solution.script)
            tar.seek(0)
            # Whoever the solution runs as, a folder at the root is made by root.
            root = sandbox.capabilities.as_root
            await unpack(sandbox, tar, SOLUTION, user=root)

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Any:
        if any(message["role"] == "assistant" for message in messages):
            return completion.text("Done.")
        script = shlex.quote(f"{SOLUTION}/{self.solution.script}")
        # As Harbor's own oracle does it, which these solutions are written for.
        env = {"DEBIAN_FRONTEND": "noninteractive", **self.env}
        command = " ".join([*(f"{name}={shlex.quote(value)}" for name, value in env.items()), script])
        return completion.call("call_solution", "terminal", {"command": command, "timeout": _LONGEST})


class OracleSource:
    name = "oracle"
    address = ""
    calls = None

    def for_task(self, task: Task) -> Model:
        if task.solution is None:
            raise Unsupported("the task has no reference solution for the oracle to play (rows of a dataset never do)")
        if isinstance(task.solution, str):
            return Oracle(task.solution)
        return OracleWithFiles(task.solution, resolved(task.solution.env))

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

"""Models that live in this process: `oracle` plays a task's reference solution, `nop` does nothing.

They prove a benchmark sound without a key: every task must pass with `oracle` and fail with `nop`.
"""

from __future__ import annotations

import asyncio
import shlex
import tempfile
from dataclasses import replace
from decimal import Decimal
from typing import Any, BinaryIO, cast

from ..dataset.harbor import resolved
from ..dataset.line_ends import mended
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


class Oracle:
    """Plays the reference solution as one terminal call, then says that it is done."""

    def __init__(self, command: str, **more: Any) -> None:
        """`more` are further arguments of the call."""
        self._arguments = {"command": command, **more}

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Any:
        if any(message["role"] == "assistant" for message in messages):
            return completion.text("Done.")
        return completion.call("call_solution", "terminal", self._arguments)


class OracleWithFiles(Oracle):
    """Brings the reference solution's folder along, and runs its script."""

    def __init__(self, solution: Solution) -> None:
        self._solution = solution
        script = shlex.quote(f"{SOLUTION}/{solution.script}")
        # As Harbor's own oracle does it, which these solutions are written for.
        env = {"DEBIAN_FRONTEND": "noninteractive", **resolved(solution.env)}
        command = " ".join([*(f"{name}={shlex.quote(value)}" for name, value in env.items()), script])
        super().__init__(command, timeout=_LONGEST)

    async def equip(self, sandbox: Sandbox) -> None:
        with tempfile.TemporaryFile(prefix="hermes-") as file:
            tar = cast(BinaryIO, file)
            await asyncio.to_thread(self._write, tar)
            tar.seek(0)
            # Whoever the solution runs as, a folder at the root is made by root.
            root = sandbox.capabilities.as_root
            await unpack(sandbox, tar, SOLUTION, user=root)

    def _write(self, tar: BinaryIO) -> None:
        folder, script = self._solution.folder, self._solution.script
        write_tar(folder, tar, executable=script, content=mended((folder / script).read_bytes()))


class Nop:
    """Says that it is done, at once."""

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Any:
        return completion.text("Done.")


class _Source:
    name: str
    address = ""
    calls = None

    def priced(self, usage: Usage) -> Usage:
        return replace(usage, cost=Decimal(0))

    async def close(self) -> None: ...


class OracleSource(_Source):
    def __init__(self, variant: str = "") -> None:
        """`variant` tells it from others in the same run."""
        self.name = f"oracle-{variant}" if variant else "oracle"

    def for_task(self, task: Task) -> Model:
        if task.solution is None:
            raise Unsupported(
                "the task has no reference solution for the oracle to play (rows of a dataset never have one)"
            )
        return Oracle(task.solution) if isinstance(task.solution, str) else OracleWithFiles(task.solution)


class NopSource(_Source):
    name = "nop"

    def for_task(self, task: Task) -> Model:
        return Nop()


BUILTIN: dict[str, type[OracleSource] | type[NopSource]] = {"oracle": OracleSource, "nop": NopSource}

"""Whose fault it is that a sandbox does not work any more when its agent is scored."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from types import TracebackType

from ..benchmark import REWARD_RANGE, Benchmark
from ..errors import InfrastructureError, SandboxBroken, Unsupported
from ..result import AgentResult
from ..sandbox.protocol import Sandbox
from ..tools.session import SandboxSession
from .boundary import Ending

#: Seconds for one command in an untouched sandbox.
_PATIENCE = 60.0

_CODE = 7


class AgentsFault:
    """Stops a SandboxBroken that is raised inside, where the agent is to blame; `ending` then is that of its attempt.

    The agent is to blame if it called a tool, and a sandbox that it never saw works: one that runs a command and takes
    files.
    """

    def __init__(self, session: SandboxSession, result: AgentResult, benchmark: Benchmark) -> None:
        low, _ = benchmark.reward_range or REWARD_RANGE
        self.ending = Ending("failed", low)
        self._session = session
        self._result = result

    async def __aenter__(self) -> AgentsFault:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, SandboxBroken) or not self._result.acted or not await self._another_works():
            return False
        self.ending = replace(self.ending, reason=str(error))
        return True

    async def _another_works(self) -> bool:
        try:
            async with self._session.another() as untouched:
                return await _works(untouched)
        except (InfrastructureError, Unsupported, OSError):
            return False


async def _works(sandbox: Sandbox) -> bool:
    archive = io.BytesIO()
    tarfile.open(fileobj=archive, mode="w").close()
    archive.seek(0)
    await sandbox.upload(archive, sandbox.scratch)
    return (await sandbox.exec(f"exit {_CODE}", timeout=_PATIENCE, cwd="/")).exit_code == _CODE

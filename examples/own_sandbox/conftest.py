"""A sandbox of your own: the local one, which writes down each command that it runs.

    pytest examples/own_sandbox --hermes-sandbox=audited --hermes-model=oracle

The contract is `pytest_hermes.sandbox.protocol.Sandbox`; docs/sandboxes.md says how to hold a backend to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_hermes import ExecResult, register_sandbox
from pytest_hermes.sandbox.local import LocalSandbox

LOG = Path("commands.log")


class AuditedSandbox(LocalSandbox):
    """Runs commands as the local sandbox does, and keeps a log of them."""

    backend = "audited"

    async def exec(self, command: Any, **options: Any) -> ExecResult:
        done = await super().exec(command, **options)
        # What an agent types comes as the input of a shell.
        typed = options.get("stdin", b"")
        self._log.write(f"{done.exit_code} {typed or command!r}\n")
        return done

    async def start(self) -> None:
        await super().start()
        self._log = LOG.open("a", buffering=1)  # noqa: ASYNC230  it is opened once

    async def close(self) -> None:
        await super().close()
        self._log.close()


register_sandbox("audited", AuditedSandbox)

"""This process raises its own limit on open files; commands have the one that it was started with."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from pytest_hermes.core import open_files
from tests.sandbox.backends import need

ASKS = """
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 4096))
from pytest_hermes.core import open_files
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.task import SandboxSpec

async def main():
    open_files.raise_limit()
    sandbox = LocalSandbox(SandboxSpec(), name="test", isolation=sys.argv[1])
    await sandbox.start()
    said = await sandbox.exec("ulimit -Sn; ulimit -Hn")
    await sandbox.close()
    print(open_files.limit(), *said.stdout.decode().split())

asyncio.run(main())
"""


@pytest.mark.parametrize("backend", ["local", "bubblewrap"])
def test_commands_have_the_limit_of_before(backend: str) -> None:
    need(backend)
    isolation = "none" if backend == "local" else backend
    asked = subprocess.run([sys.executable, "-c", ASKS, isolation], capture_output=True, text=True, check=True)
    assert asked.stdout.split() == ["4096", "512", "4096"], asked.stderr


def test_a_limit_that_is_the_highest_stays() -> None:
    open_files.raise_limit()
    raised = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_files.raise_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == raised
    assert open_files.in_use() < open_files.limit()

"""Sandboxes for the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from pytest_hermes.sandbox.protocol import Sandbox
from pytest_hermes.sandbox.shell import Shell

from .backends import BACKENDS, opened


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    """The name of each backend in turn."""
    return str(request.param)


@pytest_asyncio.fixture
async def sandbox(backend: str) -> AsyncIterator[Sandbox]:
    """A started sandbox of each backend in turn."""
    async with opened(backend) as sandbox:
        yield sandbox


@pytest.fixture
def shell(sandbox: Sandbox) -> Shell:
    """A terminal session in it."""
    return Shell(sandbox)


@pytest.fixture
def alive() -> Callable[[str], list[int]]:
    """Tells the processes of this machine that have a text among their arguments."""

    def find(marker: str) -> list[int]:
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/cmdline", "rb") as file:
                        arguments = file.read().split(b"\0")
                except OSError:
                    continue
                if marker.encode() in arguments:
                    found.append(int(name))
        return found

    return find

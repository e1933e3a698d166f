"""What is made of the stream by which a sandbox tells how its tests went."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import pytest

from pytest_hermes.sandbox.protocol import Capabilities, ExecResult, Sandbox
from pytest_hermes.verifier.tests_run import TaskTests, run_tests


class ReplacedShell:
    """A sandbox in which an agent has replaced the shell by a program of its own."""

    capabilities = Capabilities(hard_kill=True)

    def __init__(self, says: bytes) -> None:
        self._says = says

    async def exec(self, command: Any, *, stdout_to: BinaryIO, **named: Any) -> ExecResult:
        stdout_to.write(self._says)
        ended = SimpleNamespace(exit_code=0, stdout=b"", stderr=b"printed", timed_out=False)
        return cast(ExecResult, ended)


async def told(says: bytes) -> Any:
    return await run_tests(cast(Sandbox, ReplacedShell(says)), TaskTests(write=lambda target: None), 5)


async def test_the_files_that_tests_leave() -> None:
    run = await told(b"exit 0 0\nfile reward.txt 2\n1\nunfit reward.json is not a regular file\nend\n")
    assert (run.exit_code, run.problem) == (0, None)
    assert dict(run.files) == {"reward.txt": b"1\n", "test-stdout.txt": b"printed"}
    assert dict(run.unfit) == {"reward.json": "is not a regular file"}


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"exit 0 0\n",
        b"exit 0 0\nfile reward.txt 9\n1\nend\n",
        b"exit 0 0\nfile ../../../escaped 1\n1end\n",
        b"exit 0 0\nfile /escaped 1\n1end\n",
        b"exit 0 0\nfile other.txt 1\n1end\n",
        b"exit 0 0\nfile \xff 1\n1end\n",
        b"exit 0 0\nlink reward.txt 1\n1end\n",
        b"exit 0 0\nfile reward.txt -1\n1end\n",
        b"exit 0 0\nfile reward.txt 1 1\n1end\n",
        b"exit 0 " + b"0" * 10_000,
        b"x" * (17 << 20),
    ],
)
async def test_a_stream_that_tests_do_not_write_is_no_result(says: bytes) -> None:
    run = await told(says)
    assert run.problem is not None
    assert run.problem.startswith("the verifier was kept from reporting its result")
    assert set(run.files) <= {"test-stdout.txt"}

"""One run of a task's tests in one sandbox."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from ..errors import InfrastructureError
from ..sandbox.protocol import ExecResult, Sandbox
from .scripts import END, LOG, NOT_EMPTIED, NOT_KILLED, NOT_UNPACKED, RUN

#: Where Harbor's tasks expect them.
TESTS, LOGS = "/tests", "/logs/verifier"

#: Bytes that are kept of what the tests print, the end of it, and of each other file.
LONGEST_LOG = 16 << 20
LARGEST_FILE = 4 << 20

#: Seconds for what surrounds the tests.
_OVERHEAD = 60.0

_PROBLEMS = {
    NOT_KILLED: "what the agent left running cannot be ended",
    NOT_EMPTIED: f"{TESTS} and {LOGS} cannot be emptied",
    NOT_UNPACKED: f"the tests cannot be written to {TESTS}",
}


@dataclass(frozen=True, kw_only=True)
class TaskTests:
    """The tests of a task. Nothing of them is in the sandbox before they run."""

    __test__ = False

    #: Writes a tar of the tests' folder, names beginning with `./`.
    write: Callable[[BinaryIO], None]
    #: The script in that folder that runs them.
    script: str = "test.sh"
    #: How it is run, where the system cannot by itself: it has no `#!` line.
    interpreter: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    #: Whether the script is known to write a report of its single tests (CTRF, https://ctrf.io).
    writes_report: bool = False


@dataclass(frozen=True, kw_only=True)
class TestsRun:
    """How one run of the tests ended."""

    __test__ = False

    #: None when it ran out of time.
    exit_code: int | None
    #: Processes that were killed for want of memory.
    out_of_memory: int = 0
    #: `reward.json`, `reward.txt`, `ctrf.json` and `test-stdout.txt`, where the tests left them.
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def output(self) -> str:
        return self.files.get("test-stdout.txt", b"").decode("utf-8", "replace")


async def run_tests(sandbox: Sandbox, tests: TaskTests, timeout: float) -> TestsRun:
    """End what runs in the sandbox, empty the tests' folders, run the tests for at most `timeout` seconds.

    Raises InfrastructureError when the tests could not be run at all.
    """
    with tempfile.TemporaryFile(prefix="hermes-") as tar, tempfile.TemporaryFile(prefix="hermes-") as out:
        await asyncio.to_thread(tests.write, cast(BinaryIO, tar))
        tar.seek(0)
        # Not by way of a shell of the agent's: an argument vector, in the sandbox's own environment.
        result = await sandbox.exec(
            [
                "/bin/sh", "-c", RUN, "sh", _whose(sandbox), TESTS, LOGS, str(LONGEST_LOG), str(LARGEST_FILE),
                *tests.interpreter, f"{TESTS}/{tests.script}",
            ],
            timeout=timeout,
            env=tests.env,
            stdin=cast(BinaryIO, tar),
            stdout_to=cast(BinaryIO, out),
        )  # fmt: skip
        if result.timed_out:
            return TestsRun(exit_code=None, files={"test-stdout.txt": await _log(sandbox)})
        _check(result)
        out.seek(0)
        return _parsed(cast(BinaryIO, out), result)


async def end_processes(sandbox: Sandbox) -> None:
    """End what the agent left running. Raises InfrastructureError when that cannot be done."""
    _check(await sandbox.exec(["/bin/sh", "-c", END, "sh", _whose(sandbox)], timeout=_OVERHEAD))


def _whose(sandbox: Sandbox) -> str:
    return "all" if sandbox.capabilities.own_processes else "none"


async def _log(sandbox: Sandbox) -> bytes:
    read = await sandbox.exec(
        ["/bin/sh", "-c", LOG, "sh", LOGS, str(LONGEST_LOG)], timeout=_OVERHEAD, max_output=LONGEST_LOG
    )
    return read.stdout


def _check(result: ExecResult) -> None:
    if result.exit_code == 0:
        return
    problem = _PROBLEMS.get(result.exit_code, "the verifier cannot run in this sandbox")
    said = result.stderr.decode(errors="replace").strip().splitlines()
    why = said[-1] if said else f"exit code {result.exit_code}"
    raise InfrastructureError(f"{problem}: {why}", kind="verifier")


def _parsed(out: BinaryIO, result: ExecResult) -> TestsRun:
    """Read what RUN wrote. A stream that ends early is what is left when its shell was killed."""
    words = out.readline().split()
    if len(words) != 3 or words[0] != b"exit":
        raise InfrastructureError("the verifier was killed before it could tell its result", kind="verifier")
    files: dict[str, bytes] = {}
    while (line := out.readline().split()) and line[0] == b"file":
        size = int(line[2])
        files[line[1].decode()] = content = out.read(size)
        if len(content) < size:
            break
    if line != [b"end"]:
        raise InfrastructureError("the verifier was killed before it could tell its result", kind="verifier")
    return TestsRun(exit_code=int(words[1]), out_of_memory=int(words[2]), files=files)

"""One run of a task's tests in one sandbox."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from ..errors import InfrastructureError
from ..sandbox.protocol import ExecResult, Sandbox
from ..sandbox.scripts import shell_script

#: Where Harbor's tasks expect them.
TESTS, LOGS = "/tests", "/logs/verifier"

#: Bytes that are kept of what the tests print, the end of it, and of each other file.
LONGEST_LOG = 16 << 20
LARGEST_FILE = 4 << 20

#: Seconds for what surrounds the tests.
_OVERHEAD = 600.0

#: The files that tests.sh sends, and its exit codes.
_LEFT = (b"reward.json", b"reward.txt", b"ctrf.json", b"test-stdout.txt")
_NOT_EMPTIED, _NOT_UNPACKED = 92, 93

_PROBLEMS = {
    _NOT_EMPTIED: f"{TESTS} and {LOGS} cannot be emptied",
    _NOT_UNPACKED: f"the tests cannot be written to {TESTS}",
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

    #: None when it ran out of time, or could not begin.
    exit_code: int | None = None
    #: Why the tests could not run in that sandbox, or not to their end.
    problem: str | None = None
    #: Processes that were killed for want of memory.
    out_of_memory: int = 0
    #: `reward.json`, `reward.txt`, `ctrf.json` and `test-stdout.txt`, where the tests left them.
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def output(self) -> str:
        return self.files.get("test-stdout.txt", b"").decode("utf-8", "replace")


async def run_tests(sandbox: Sandbox, tests: TaskTests, timeout: float) -> TestsRun:
    """Empty the tests' folders, and run the tests for at most `timeout` seconds.

    All but the tests themselves is done as root where that is possible; they run as whoever runs the other commands.
    Raises InfrastructureError when the sandbox fails.
    """
    command = [*tests.interpreter, f"{TESTS}/{tests.script}"]
    with tempfile.TemporaryFile(prefix="hermes-") as archive, tempfile.TemporaryFile(prefix="hermes-") as file:
        tar, out = cast(BinaryIO, archive), cast(BinaryIO, file)
        await asyncio.to_thread(tests.write, tar)
        tar.seek(0)
        # Not by way of a shell of the agent's: argument vectors, in the sandbox's own environment.
        if root := sandbox.capabilities.as_root:
            prepare = _script(sandbox, "prepare")
            prepared = await sandbox.exec(prepare, timeout=_OVERHEAD, stdin=tar, user=root)
            if (problem := _problem(prepared)) is not None:
                return TestsRun(problem=problem)
            test = _script(sandbox, "test", *command)
            result = await sandbox.exec(test, timeout=timeout, env=tests.env, stdout_to=out)
        else:
            run = _script(sandbox, "run", *command)
            result = await sandbox.exec(run, timeout=timeout, env=tests.env, stdin=tar, stdout_to=out)
        if result.timed_out:
            return TestsRun(files={"test-stdout.txt": await _log(sandbox)})
        if (problem := _problem(result)) is not None:
            return TestsRun(problem=problem)
        out.seek(0)
        return _parsed(out)


def _script(sandbox: Sandbox, step: str, *command: str) -> list[str]:
    kept = str(LONGEST_LOG), str(LARGEST_FILE)
    return ["/bin/sh", "-c", shell_script("tests", __package__), "sh", step, TESTS, LOGS, *kept, *command]


async def _log(sandbox: Sandbox) -> bytes:
    read = await sandbox.exec(_script(sandbox, "log"), timeout=_OVERHEAD, max_output=LONGEST_LOG)
    return read.stdout


def _problem(result: ExecResult) -> str | None:
    """Return what kept a script from its end, in the sandbox as it is.

    Raises InfrastructureError for what may be nobody's doing who was in it.
    """
    if result.exit_code == 0:
        return None
    said = result.stderr.decode(errors="replace").strip().splitlines()
    why = said[-1] if said else f"exit code {result.exit_code}"
    if result.timed_out:
        raise InfrastructureError(f"the tests cannot be prepared within {_OVERHEAD:g} seconds", kind="verifier")
    return f"{_PROBLEMS.get(result.exit_code, 'the verifier cannot run in this sandbox')}: {why}"


def _parsed(out: BinaryIO) -> TestsRun:
    """Read what tests.sh wrote. A stream that ends early is what is left when its shell was killed."""
    try:
        return _read(out)
    except ValueError:
        return TestsRun(problem="the verifier was killed before it could report its result")


def _read(out: BinaryIO) -> TestsRun:
    first, code, killed = out.readline().split()
    if first != b"exit":
        raise ValueError(first)
    files: dict[str, bytes] = {}
    while (line := out.readline().split()) != [b"end"]:
        _, name, size = line
        # A shell that the agent replaced writes what it likes, and these become files of the run's folder.
        if name not in _LEFT:
            raise ValueError(name)
        files[name.decode()] = content = out.read(int(size))
        if len(content) != int(size):
            raise ValueError(name)
    return TestsRun(exit_code=int(code), out_of_memory=int(killed), files=files)

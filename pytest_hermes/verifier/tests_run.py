"""One run of a task's tests in one sandbox."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import BinaryIO, cast

from ..errors import InfrastructureError, SandboxBroken
from ..sandbox.protocol import ExecResult, Sandbox
from ..sandbox.scripts import shell_script
from ..sandbox.transfer import BoundedFile

#: Where Harbor's tasks expect them.
TESTS, LOGS = "/tests", "/logs/verifier"

#: Bytes that are kept of what the tests print, its beginning and its end, and of each file, its end.
LONGEST_LOG = 16 << 20
LARGEST_FILE = 4 << 20

#: Exit codes above this say that a signal ended a command: this and its number.
SIGNALLED = 128

#: What the tests printed, among the files of a run.
OUTPUT = "test-stdout.txt"

#: Seconds for what surrounds the tests.
_OVERHEAD = 600.0

#: The files that tests.sh sends, and its exit codes.
_LEFT = (b"reward.json", b"reward.txt", b"ctrf.json")
_NOT_EMPTIED, _NOT_UNPACKED = 92, 93

#: Bytes of the report, which holds these files. A shell that the agent replaced writes what it likes.
_LONGEST_REPORT = 4 * LARGEST_FILE
_NO_REPORT = "the verifier was kept from reporting its result"

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
    #: Whether the script gives its verdict by its exit code where it leaves no reward file.
    exit_code_is_reward: bool = False


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
    #: `reward.json`, `reward.txt` and `ctrf.json`, where the tests left them, and `test-stdout.txt`.
    files: Mapping[str, bytes] = field(default_factory=dict)
    #: Why what has one of these names does not count, in a few words that continue the name.
    unfit: Mapping[str, str] = field(default_factory=dict)
    #: Whether nothing else in the sandbox could see the tests or reach their reward.
    private: bool = False

    @property
    def output(self) -> str:
        return self.files.get(OUTPUT, b"").decode("utf-8", "replace")


async def run_tests(sandbox: Sandbox, tests: TaskTests, timeout: float) -> TestsRun:
    """Run the tests in emptied folders for at most `timeout` seconds, where possible in folders of their own.

    They run as the user that runs the other commands; where they have no folders of their own, root brings them, if
    that is possible. What the agent did to the sandbox, so that they cannot run, is the run's `problem`. Raises
    InfrastructureError when the sandbox fails by itself.
    """
    command = [*tests.interpreter, f"{TESTS}/{tests.script}"]
    private = (TESTS, LOGS) if sandbox.capabilities.private_folders else ()
    with tempfile.TemporaryFile(prefix="hermes-") as archive, tempfile.TemporaryFile(prefix="hermes-") as file:
        tar, out = cast(BinaryIO, archive), cast(BinaryIO, BoundedFile(cast(BinaryIO, file), _LONGEST_REPORT))
        await asyncio.to_thread(tests.write, tar)
        tar.seek(0)
        stdin: bytes | BinaryIO = tar
        # Not by way of a shell of the agent's: argument vectors, in the sandbox's own environment.
        script = _script("run", *command)
        try:
            if not private and (root := sandbox.capabilities.as_root):
                prepared = await sandbox.exec(_script("prepare"), timeout=_OVERHEAD, stdin=tar, user=root)
                if prepared.timed_out:
                    raise InfrastructureError(
                        f"the tests cannot be prepared within {_OVERHEAD:g} seconds", kind="verifier"
                    )
                if (problem := _problem(prepared)) is not None:
                    return TestsRun(problem=problem)
                script, stdin = _script("test", *command), b""
            result = await sandbox.exec(
                script,
                timeout=timeout,
                env=tests.env,
                stdin=stdin,
                stdout_to=out,
                max_output=LONGEST_LOG,
                private=private,
            )
        except SandboxBroken as broken:
            return TestsRun(problem=str(broken))
        except OSError as error:  # of the report: it is bounded
            return TestsRun(problem=f"{_NO_REPORT}: {error}")
        if result.timed_out:
            return TestsRun(files={OUTPUT: result.stderr}, private=bool(private))
        if (problem := _problem(result)) is not None:
            return TestsRun(problem=problem)
        file.seek(0)
        run = _parsed(cast(BinaryIO, file))
    return replace(run, files={**run.files, OUTPUT: result.stderr}, private=bool(private))


def _script(step: str, *command: str) -> list[str]:
    return ["/bin/sh", "-c", shell_script("tests", __package__), "sh", step, TESTS, LOGS, str(LARGEST_FILE), *command]


def _problem(result: ExecResult) -> str | None:
    """Return what kept the script from its end, in the sandbox as it is."""
    if result.exit_code == 0:
        return None
    if result.exit_code > SIGNALLED:
        return f"{_NO_REPORT}: it was killed"
    lines = result.stderr.decode(errors="replace").strip().splitlines()
    why = lines[-1] if lines else f"exit code {result.exit_code}"
    return f"{_PROBLEMS.get(result.exit_code, 'the verifier cannot run in this sandbox')}: {why}"


def _parsed(out: BinaryIO) -> TestsRun:
    """Read what tests.sh wrote. A stream that ends early is what is left when its shell was killed."""
    try:
        return _read(out)
    except ValueError:
        return TestsRun(problem=_NO_REPORT)


def _read(out: BinaryIO) -> TestsRun:
    first, code, killed = out.readline(100).split()
    if first != b"exit":
        raise ValueError(first)
    files: dict[str, bytes] = {}
    unfit: dict[str, str] = {}
    while (line := out.readline(200).split(maxsplit=2)) != [b"end"]:
        kind, name, rest = line
        # A shell that the agent replaced writes what it likes, and these become files of the run's folder.
        if name not in _LEFT or kind not in (b"file", b"unfit"):
            raise ValueError(name)
        if kind == b"unfit":
            unfit[name.decode()] = rest.decode("ascii", "replace").strip()
            continue
        size = int(rest)
        files[name.decode()] = content = out.read(size)
        if len(content) != size:
            raise ValueError(size)
    return TestsRun(exit_code=int(code), out_of_memory=int(killed), files=files, unfit=unfit)

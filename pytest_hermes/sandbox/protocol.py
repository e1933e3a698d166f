"""The seam between the core and the sandboxes in which commands run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

#: Bytes of each of stdout and stderr that a result keeps unless asked otherwise.
DEFAULT_MAX_OUTPUT = 1 << 20

#: Exit code of a command that ran out of time, as timeout(1) has it.
TIMEOUT_EXIT_CODE = 124


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a backend can promise. It claims only what it can keep."""

    #: A kill also reaches processes that left their process group (setsid, double fork).
    hard_kill: bool
    #: Commands see the processes of their sandbox in /proc and no others.
    own_processes: bool = False
    #: Commands run as root unless told otherwise.
    root: bool = False
    #: `exec` can run commands as another user.
    users: bool = False
    #: `exec` can hide folders from the sandbox's other processes: its `private`.
    private_folders: bool = False

    @property
    def as_root(self) -> str:
        """The `user` to run a command as that only root may; empty where that is so anyway, or cannot be chosen."""
        return "0" if self.users and not self.root else ""


@dataclass(frozen=True, kw_only=True)
class ExecResult:
    """What one command left behind.

    `stdout` and `stderr` hold at most the `max_output` bytes asked for, the first and the last half of a longer
    output with a line between them that says how much is missing; the totals count what was really written
    until the command ended.
    """

    #: 0–255; 128 + n when signal n ended the command; 124 when it ran out of time.
    exit_code: int
    stdout: bytes
    stderr: bytes
    stdout_total: int
    stderr_total: int
    truncated: bool
    timed_out: bool
    #: Seconds.
    duration: float


class Process(Protocol):
    """A command that runs in the background of a sandbox."""

    #: Names it within its sandbox, e.g. `bg_1`.
    id: str

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""

    def read(self) -> tuple[bytes, bytes]:
        """Return what it wrote to stdout and stderr since the last read, capped like an exec's output."""

    async def wait(self, timeout: float | None = None) -> int | None:
        """Return the exit code, or None if it still runs after `timeout` seconds."""

    async def kill(self) -> None:
        """End it and all its descendants; return when they are gone."""


class Sandbox(Protocol):
    """A sandbox, in which the commands of one attempt run.

    Every method may raise InfrastructureError (kind `sandbox`) when the sandbox itself fails: that is never the
    command's doing. All methods are called from one event loop.
    """

    #: Name of the backend: `local`, `docker`, ….
    backend: str
    #: Absolute paths inside the sandbox: the home folder, where commands start, and a folder for the
    #: harness's own bookkeeping (shell state).
    home: str
    workdir: str
    scratch: str
    #: What runs a command that is a text: `bash`, or `sh` where there is no bash.
    shell: str

    @property
    def capabilities(self) -> Capabilities:
        """What this sandbox can promise on this machine."""

    async def start(self) -> None:
        """Make it ready. Raises Unsupported when its task needs what this backend cannot give."""

    async def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | BinaryIO = b"",
        max_output: int = DEFAULT_MAX_OUTPUT,
        stdout_to: BinaryIO | None = None,
        user: str = "",
        private: Sequence[str] = (),
    ) -> ExecResult:
        """Run a command and wait for its leader to exit; its background children go on.

        A text is run by `shell` with `-c`, a sequence is an argument vector. `timeout` is in seconds; when it ends,
        the command and its descendants are killed. `env` adds to the sandbox's variables. `stdin` is what the command
        reads, then end of file. `stdout_to` receives all of stdout as it comes, instead of the result. `user` is who
        runs it, a name or a number, where that can be chosen; when it is empty, whoever runs the others.
        Cancelling the call kills the command.

        `private` are absolute paths of folders that are empty and writable for the command and its descendants alone,
        and that end with it. No other process of the sandbox can read or write in them, nor trace the command; it may
        kill it. Needs the capability `private_folders`.
        """

    async def spawn(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | BinaryIO = b"",
        max_output: int = DEFAULT_MAX_OUTPUT,
    ) -> Process:
        """Start a command in the background."""

    async def upload(self, tar: BinaryIO, path: str) -> None:
        """Unpack a tar stream into the folder `path`, which is made if it is missing."""

    async def download(self, path: str, tar: BinaryIO) -> None:
        """Write a tar stream of the file or folder `path` to `tar`; member names begin with its base name.

        Raises FileNotFoundError when there is no such path.
        """

    async def end_processes(self) -> None:
        """End every process that a command left running. Files stay, but for those in memory (`/dev/shm`).

        Raises SandboxBroken when no command can be run afterwards.
        """

    async def freeze(self) -> None:
        """Let nothing in the sandbox run any more until it is closed, so that its files can be read by `pull`."""

    async def pull(self, path: str, tar: BinaryIO) -> None:
        """As `download`, from a sandbox that is frozen, and without running a program in it where that is possible.

        Raises SandboxBroken when the programs in it are needed and do not work.
        """

    async def changed_files(self) -> tuple[str, ...] | None:
        """Return the absolute paths that were added, changed or removed since the image; None where that is unknown."""

    async def close(self) -> None:
        """Kill every process and release everything. May be called twice; finishes even when cancelled."""

"""Starts and ends an interpreter that executes the modules of `supervisor`.

They are sent as one program, by a descriptor: where they are installed, the sandbox may not see them.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import marshal
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.open_files import restoring_code
from . import supervisor
from .memory_file import memory_file
from .supervisor.processes import children

_END_TIMEOUT = 5.0  # seconds

#: What is sent to groups of processes: by terminals, and by programs that end what they started.
_FOR_GROUPS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP, signal.SIGTERM)

#: What the modules are called where they are executed, in the order in which they need each other.
_PACKAGE = "hermes_sandbox"
_MODULES = (
    "system", "channel", "processes", "emptying", "privileges", "private_root", "archive", "subreaper", "main",
)  # fmt: skip

#: Executes them. What a module needs of the standard library that is slow to import, it imports in a function.
_BOOT = f"""
import marshal, sys
sys.modules[{_PACKAGE!r}] = type(sys)({_PACKAGE!r})
for name, code in modules:
    module = sys.modules[name] = type(sys)(name)
    module.__package__ = {_PACKAGE!r}
    exec(marshal.loads(code), module.__dict__)
module.main(*sys.argv[1:])
"""


def launch(
    prefix: Sequence[str],
    channel: socket.socket,
    kind: str,
    *arguments: str,
    diagnostics: int,
    env: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    """Run the supervisor's program behind the arguments of `prefix`, with `channel`, as a `kind` with `arguments`.

    `diagnostics` is where its output goes, a descriptor or subprocess.DEVNULL. Raises OSError.
    """
    # A descriptor, not a path: these files may lie where the sandbox cannot see them.
    program = memory_file(supervisor_program())
    # A terminal sends Ctrl-C to a whole group of processes, but it is meant for this one: the other would end by it
    # before it has a session of its own. It inherits the mask, but ignores these signals anyway, and clears it for
    # commands.
    unmasked = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_GROUPS)
    try:
        return subprocess.Popen(
            [*prefix, *command(program), kind, str(channel.fileno()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=diagnostics,
            stderr=diagnostics,
            pass_fds=(channel.fileno(), program),
            start_new_session=True,
            cwd="/",
            env=dict(env),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unmasked)
        os.close(program)


def kill(popen: subprocess.Popen[bytes]) -> None:
    """Kill what was launched, and its children first: bubblewrap's is the init of all that runs in a sandbox."""
    for child in children(popen.pid) if popen.poll() is None else []:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)
    popen.kill()


def reap(popen: subprocess.Popen[bytes]) -> None:
    """Wait for the end of what was launched; it is killed when that does not come in time. Blocks."""
    try:
        popen.wait(_END_TIMEOUT)
    except subprocess.TimeoutExpired:
        kill(popen)
        with contextlib.suppress(subprocess.TimeoutExpired):
            popen.wait(_END_TIMEOUT)


def interpreter() -> str:
    """The Python that a virtual environment was made from: the environment itself may be hidden in the sandbox."""
    return getattr(sys, "_base_executable", "") or sys.executable


def command(program: int) -> list[str]:
    """Return what executes the program that is open as `program`, up to its arguments."""
    return [interpreter(), "-I", "-S", f"/dev/fd/{program}"]


@functools.cache
def supervisor_program() -> bytes:
    """Return all modules in the form of one .pyc file.

    Compiling them for each sandbox would cost as much as starting the interpreter.
    """
    folder = Path(supervisor.__file__).parent
    modules = [(f"{_PACKAGE}.{name}", _compiled((folder / f"{name}.py").read_bytes(), name)) for name in _MODULES]
    source = f"{restoring_code()}modules = {modules!r}\n{_BOOT.strip()}\n"
    return importlib.util.MAGIC_NUMBER + bytes(12) + _compiled(source.encode(), "boot")


def _compiled(source: bytes, name: str) -> bytes:
    return marshal.dumps(compile(source, f"<{_PACKAGE}.{name}>", "exec", dont_inherit=True))

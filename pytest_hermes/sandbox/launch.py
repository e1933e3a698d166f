"""Starts and ends an interpreter that executes the supervisor's file."""

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

from . import supervisor
from .memory_file import memory_file

_END_TIMEOUT = 5.0  # seconds

#: What is sent to groups of processes: by terminals, and by programs that end what they started.
_FOR_GROUPS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP, signal.SIGTERM)


def launch(
    prefix: Sequence[str], channel: socket.socket, arguments: Sequence[str], *, diagnostics: int, env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Run the supervisor's file behind the arguments of `prefix`, with `channel` and these `arguments`.

    `diagnostics` is where its output goes, a descriptor or subprocess.DEVNULL. Raises OSError.
    """
    # A descriptor, not a path: this file may lie where the sandbox cannot see it.
    program = memory_file(_program())
    # A terminal sends Ctrl-C to a whole group of processes, but it is meant for this one: the other would end by it
    # before it has a session of its own. It inherits the mask, but ignores these signals anyway, and clears it for
    # commands.
    unmasked = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_GROUPS)
    try:
        return subprocess.Popen(
            [*prefix, interpreter(), "-I", "-S", f"/dev/fd/{program}", str(channel.fileno()), *arguments],
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
    for child in supervisor.children(popen.pid) if popen.poll() is None else []:
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


@functools.cache
def _program() -> bytes:
    # Compiled, in the form of a .pyc file: compiling it for each sandbox costs as much as starting the interpreter.
    path = Path(supervisor.__file__)
    code = compile(path.read_bytes(), "<hermes-sandbox>", "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)

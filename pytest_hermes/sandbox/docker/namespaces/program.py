"""Starts programs that consist of modules of this package, in a bare interpreter."""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import marshal
import os
import shutil
import subprocess
from collections.abc import Sequence
from importlib import resources

from ....core.open_files import restoring_code
from ...launch import interpreter
from ...memory_file import memory_file

#: Modules in the order in which they are executed; the last one has `main`, which takes numbers.
MONITOR = ("linux", "order", "users", "members", "folders", "leader", "monitor")
SECCOMP_FILTERS = ("linux", "seccomp_filters")

#: Executed first: there are no files to import the modules from.
_START = """
import marshal, sys
package = sys.modules["namespaces"] = type(sys)("namespaces")
package.__path__ = []
for name, code in marshal.loads({modules!r}):
    module = sys.modules["namespaces." + name] = type(sys)("namespaces." + name)
    module.__package__ = "namespaces"
    exec(code, vars(module))
module.main(*map(int, sys.argv[1:]))
"""


def start_program(
    modules: tuple[str, ...], arguments: Sequence[int], *, stdout: int, stderr: int, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a program; `stdout` and `stderr` are as those of `subprocess.Popen`. Raises OSError.

    The interpreter is a sealed copy in memory. A program may execute what an agent has made of a container's files; if
    that is a link to /proc/self/exe, it is the interpreter that runs, as a process of the container, and that could
    open its own file for writing.
    """
    python = _sealed_interpreter()
    program = memory_file(_bundle(modules))
    # The libraries of an interpreter that is not the system's.
    env = {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
    try:
        return subprocess.Popen(
            [interpreter(), "-I", "-S", f"/dev/fd/{program}", *map(str, arguments)],
            executable=f"/proc/self/fd/{python}",
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(python, program, *pass_fds),
            start_new_session=True,
            cwd="/",
            env=env,
        )
    finally:
        os.close(program)


@functools.cache
def _sealed_interpreter() -> int:
    copy = os.memfd_create("hermes-python", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(interpreter(), "rb") as source, open(copy, "wb", closefd=False) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    fcntl.fcntl(
        copy, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    )
    return copy


@functools.cache
def _bundle(modules: tuple[str, ...]) -> bytes:
    """Return a program in the form of a .pyc file."""
    codes = []
    for name in modules:
        source = resources.files(__package__).joinpath(f"{name}.py").read_bytes()
        codes.append((name, compile(source, f"<hermes {name}>", "exec", dont_inherit=True)))
    boot = restoring_code() + _START.format(modules=marshal.dumps(codes))
    start = compile(boot, "<hermes start>", "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(start)

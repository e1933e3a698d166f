"""This machine's Python in a container, for programs that busybox cannot be."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

from pytest_hermes.sandbox.launch import interpreter
from pytest_hermes.sandbox.protocol import Sandbox

#: What is imported before the modules are counted.
_MODULES = "ctypes, errno, json, os, re, select, signal, socket, struct, sys, threading, time"

_FILES = f"""
import {_MODULES}
import encodings.ascii, encodings.idna
for module in list(sys.modules.values()):
    if path := getattr(module, "__file__", None):
        print(path)
"""


async def install_python(sandbox: Sandbox) -> list[str]:
    """Put the interpreter, its libraries and some modules where they are here; return how it is called."""
    called = [interpreter(), "-I", "-S"]
    await sandbox.upload(_packed(called), "/")
    return called


def _packed(called: list[str]) -> io.BytesIO:
    python = called[0]
    listed = subprocess.run([*called, "-c", _FILES], capture_output=True, text=True, check=True).stdout.splitlines()
    files = {python, os.path.realpath(python), *listed}
    for path in [python, *(path for path in listed if path.endswith(".so"))]:
        libraries = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        files |= set(re.findall(r"(/\S+) \(0x", libraries))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path in sorted(files):
            member = tarfile.TarInfo(path.lstrip("/"))
            data = Path(path).read_bytes()
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    archive.seek(0)
    return archive

"""Attacks on a command with folders of its own, by root in the same container."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pytest_hermes.sandbox.launch import interpreter
from pytest_hermes.sandbox.protocol import ExecResult, Sandbox
from pytest_hermes.task import SandboxSpec

from .backends import docker_sandbox
from .container_python import install_python
from .containers import output

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("docker_image"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can enter a container from outside"),
]

FOLDERS = ("/tests", "/logs/verifier")


class Attacked:
    """A container with this machine's Python, and a command in it that is attacked."""

    def __init__(self, sandbox: Sandbox, python: list[str]) -> None:
        self.sandbox = sandbox
        self.python = python

    async def attack(self, program: str, user: str = "") -> ExecResult:
        """Run a program of Python's as any other command."""
        return await self.sandbox.exec([*self.python, "-c", program], user=user, timeout=60)


async def _attacked(**options: Any) -> AsyncIterator[Attacked]:
    sandbox = docker_sandbox(SandboxSpec(), name="attacked", options=options)
    try:
        await sandbox.start()
        assert sandbox.capabilities.private_folders
        yield Attacked(sandbox, await install_python(sandbox))
    finally:
        await sandbox.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def attacked() -> AsyncIterator[Attacked]:
    """A container as it usually is."""
    async for attacked in _attacked():
        yield attacked


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unfiltered() -> AsyncIterator[Attacked]:
    """A container in which all system calls can be tried."""
    async for attacked in _attacked(security_opt=["seccomp=unconfined"]):
        yield attacked


#: Runs until it is told to end, with something worth knowing in a file, its memory, its environment and a pipe.
TARGET = """
echo secret >/tests/secret; echo 0 >/logs/verifier/reward.txt
echo $$ >/tmp/target.new; mv /tmp/target.new /tmp/target
until [ -e /tmp/over ]; do sleep 0.05; done
cat /logs/verifier/reward.txt /tests/secret
"""

#: Tells which ways into the process /tmp/target are open.
LOOK = """
import ctypes, errno, json, os, struct, time
pid = int(open("/tmp/target").read())
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long

def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def trace():
    call(libc.ptrace(16, pid, None, None))
    os.waitpid(pid, 0)
    call(libc.ptrace(17, pid, None, None))

def read_memory():
    for line in open(f"/proc/{pid}/maps"):
        if line.split()[1].startswith("r") and "[v" not in line:
            return int(line.split("-")[0], 16)
    raise OSError(errno.EACCES, "nothing to be seen")

def readv():
    data = ctypes.create_string_buffer(16)
    local = struct.pack("PN", ctypes.addressof(data), 16)
    remote = struct.pack("PN", read_memory(), 16)
    call(libc.process_vm_readv(pid, local, 1, remote, 1, 0))

def mem():
    with open(f"/proc/{pid}/mem", "rb", 0) as file:
        file.seek(read_memory())
        file.read(16)

def write_reward():
    with open(f"/proc/{pid}/root/logs/verifier/reward.txt", "w") as file:
        file.write("1")

def steal():
    process = os.pidfd_open(pid)
    os.close(call(libc.syscall(438, process, 0, 0)))

ways = {
    "root": lambda: open(f"/proc/{pid}/root/tests/secret").read(),
    "reward": write_reward,
    "cwd": lambda: os.listdir(f"/proc/{pid}/cwd/"),
    "descriptors": lambda: [os.stat(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")],
    "environ": lambda: open(f"/proc/{pid}/environ", "rb").read(),
    "mem": mem,
    "readv": readv,
    "trace": trace,
    "steal": steal,
    "namespace": lambda: os.close(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)),
    "exe": lambda: os.close(os.open(f"/proc/{pid}/exe", os.O_RDONLY)),
}
found = {}
for name, way in ways.items():
    try:
        way()
        found[name] = "open"
    except OSError as error:
        found[name] = errno.errorcode[error.errno]
print(json.dumps(found))
"""

#: Has all rights in a user namespace of its own.
IN_A_NAMESPACE = """
import ctypes
assert ctypes.CDLL(None).unshare(0x10000000) == 0
"""

#: Becomes another user, but keeps what root may do.
AS_ANOTHER = """
import ctypes, os, struct
libc = ctypes.CDLL(None)
libc.prctl(8, 1, 0, 0, 0)
os.setgroups([]); os.setresgid({uid}, {uid}, {uid}); os.setresuid({uid}, {uid}, {uid})
libc.capset(struct.pack("Ii", 0x20080522, 0), struct.pack("6I", 0xA80425FB, 0xA80425FB, 0, 0, 0, 0))
"""


async def _look(attacked: Attacked, program: str, *, folders: tuple[str, ...], user: str) -> tuple[dict[str, str], str]:
    """Return which ways were open, and what the command that was attacked saw at its end."""
    sandbox = attacked.sandbox
    await output(
        sandbox, "rm -rf /tmp/target /tmp/over /tests /logs; mkdir -p /tests /logs/verifier; chmod 777 /tests /logs/*"
    )
    running = asyncio.create_task(
        sandbox.exec(["/bin/sh", "-c", TARGET], private=folders, user=user, env={"SECRET": "1"}, timeout=60)
    )
    await output(sandbox, "until [ -e /tmp/target ]; do sleep 0.05; done")
    looked = await attacked.attack(program)
    await output(sandbox, "touch /tmp/over")
    assert looked.exit_code == 0, looked
    return json.loads(looked.stdout), (await running).stdout.decode()


@pytest.mark.parametrize("user", ["root", "user"])
async def test_root_reaches_nothing_of_it(unfiltered: Attacked, user: str) -> None:
    program = LOOK if user == "root" else AS_ANOTHER.format(uid=1000) + LOOK
    # The same attack on any other command shows what it is worth.
    ways, seen = await _look(unfiltered, program, folders=(), user=user)
    assert set(ways.values()) == {"open"}, ways
    assert seen == "1secret\n"
    for attack in (program, IN_A_NAMESPACE + LOOK):
        ways, seen = await _look(unfiltered, attack, folders=FOLDERS, user=user)
        assert set(ways.values()) <= {"EACCES", "EPERM"}, ways
        assert seen == "0\nsecret\n"


async def test_not_at_its_start_either(attacked: Attacked) -> None:
    """From the moment at which its first process shows in the container."""
    watch = """
import os, time
known, ways, tried, deadline = set(os.listdir("/proc")), [], 0, time.monotonic() + 2
while time.monotonic() < deadline:
    for pid in set(os.listdir("/proc")) - known:
        for way in ("root/tests", "fd/0", "cwd/", "exe", "environ", "ns/mnt"):
            try:
                os.close(os.open(f"/proc/{pid}/{way}", os.O_RDONLY))
                ways.append((pid, way))
            except OSError:
                tried += 1
print(ways, tried > 1000)
"""
    watching = asyncio.create_task(attacked.attack(watch))
    await asyncio.sleep(0.3)
    for _ in range(5):
        result = await attacked.sandbox.exec(["/bin/sleep", "0.05"], private=FOLDERS)
        assert result.exit_code == 0
    assert (await watching).stdout == b"[] True\n"


async def test_the_interpreter_of_this_machine_cannot_be_overwritten(attacked: Attacked) -> None:
    """Not even when a program of the container turns out to be a link to the process that executes it."""
    digest = hashlib.sha256(_interpreter()).digest()
    accomplice = """
import errno, os, socket, time
server = socket.socket(socket.AF_UNIX)
server.bind("/tmp/socket")
server.listen()
_, (fd,), _, _ = socket.recv_fds(server.accept()[0], 100, 1)
outcome = "ETXTBSY"
while outcome == "ETXTBSY":  # as long as it runs
    time.sleep(0.01)
    try:
        os.write(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), b"overwritten")
        outcome = "written"
    except OSError as error:
        outcome = errno.errorcode[error.errno]
print(outcome)
"""
    program = """
import os, socket
client = socket.socket(socket.AF_UNIX)
client.connect("/tmp/socket")
socket.send_fds(client, [b"."], [os.open("/proc/self/exe", os.O_RDONLY)])
print(os.readlink("/proc/self/exe"))
"""
    await output(attacked.sandbox, "ln -sf /proc/self/exe /tmp/link")
    writing = asyncio.create_task(attacked.attack(accomplice))
    await output(attacked.sandbox, "until [ -S /tmp/socket ]; do sleep 0.05; done")
    result = await attacked.sandbox.exec(["/tmp/link", *attacked.python[1:], "-c", program], private=FOLDERS)
    assert b"hermes-python" in result.stdout, result  # it was this machine's that ran
    assert (await writing).stdout == b"EPERM\n"
    assert hashlib.sha256(_interpreter()).digest() == digest


def _interpreter() -> bytes:
    return Path(interpreter()).read_bytes()


@pytest.mark.parametrize(
    "deed",
    [
        "mv /tests /elsewhere; mkdir /tests",
        "mv /tests /elsewhere; mkdir /tests; sleep 0.1; rmdir /tests; mv /elsewhere /tests",
        "rmdir /tests; mkdir /tests",
        "mkdir /other; mv -T /other /tests",
        "mv /logs /elsewhere; mkdir -p /logs/verifier",
        "rmdir /logs/verifier; mkdir /logs/verifier",
        "mkdir -p /other; mv /logs/verifier /other; mv /other/verifier /logs",
    ],
)
async def test_a_folder_that_others_replace_counts_for_nothing(attacked: Attacked, deed: str) -> None:
    sandbox = attacked.sandbox
    await output(sandbox, "rm -rf /tests /logs /other /elsewhere /tmp/begun")
    waiting = "touch /tmp/begun; until [ -e /tmp/done ]; do sleep 0.02; done; sleep 0.2; echo unaware"
    running = asyncio.create_task(sandbox.exec(waiting, private=FOLDERS, timeout=60))
    await sandbox.exec(f"until [ -e /tmp/begun ]; do sleep 0.02; done; {deed}; touch /tmp/done")
    result = await running
    await output(sandbox, "rm -f /tmp/done")
    assert result.exit_code == 137, result
    assert "hermes: another process has renamed or removed" in result.stderr.decode()


async def test_names_beside_the_folders_are_of_no_concern(attacked: Attacked) -> None:
    beside = (
        "until [ -e /tmp/on ]; do sleep 0.02; done; mkdir /x /logs/x; mv /x /y; mv /logs/x /logs/y; rmdir /y /logs/y"
    )
    others = asyncio.create_task(attacked.sandbox.exec(beside))
    result = await attacked.sandbox.exec(
        "touch /tmp/on; sleep 0.5; rm -rf /tests/*; echo 1 >/logs/verifier/r", private=FOLDERS
    )
    assert (result.exit_code, (await others).exit_code) == (0, 0)


async def test_threads_of_a_process_whose_first_thread_has_ended_end_too(attacked: Attacked) -> None:
    program = """
import ctypes, os, threading, time
def write():
    file = os.open("/shared", os.O_WRONLY | os.O_CREAT)
    while True:
        os.pwrite(file, str(time.monotonic()).encode(), 0)
threading.Thread(target=write).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
"""
    result = await attacked.sandbox.exec([*attacked.python, "-c", program], private=FOLDERS, timeout=0.7)
    assert result.timed_out
    before = await output(attacked.sandbox, "cat /shared")
    await asyncio.sleep(0.1)
    assert before == await output(attacked.sandbox, "cat /shared") != ""

"""What verifiers use of the local sandbox: private folders, the end of all processes, and files of a frozen one."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Callable

import pytest

from pytest_hermes.errors import InfrastructureError, SandboxBroken, Unsupported
from pytest_hermes.sandbox import bubblewrap
from pytest_hermes.sandbox.protocol import Sandbox
from tests.sandbox.backends import need, opened
from tests.sandbox.test_contract import appeared, marker, vanished
from tests.services.required import require

asynchronous = pytest.mark.asyncio

Alive = Callable[[str], list[int]]

PRIVATE = ["/tests", "/logs/verifier"]

#: Goes for the private folders of other commands by every way there is.
INTRUDER = """
while :; do
    for root in "" /proc/[0-9]*/root /proc/[0-9]*/cwd; do
        cat $root/tests/secret $root/secret >>stolen
        mkdir -p $root/logs/verifier; echo forged >$root/logs/verifier/reward
        mv $root/logs $root/moved.$RANDOM; rm -rf $root/tests
    done
    for fd in /proc/[0-9]*/fd/1; do echo forged >$fd; done
    for pid in /proc/[0-9]*; do nsenter -m -t ${pid#/proc/} sh -c 'cat /tests/secret >>stolen'; done
done 2>/dev/null
"""
TESTS = """
echo hidden >/tests/secret; cd /tests
for _ in 1 2 3 4 5 6 7 8; do
    echo mine >/logs/verifier/reward; sleep 0.05
    [ "$(cat /tests/secret /logs/verifier/reward; ls /tests /logs/verifier | wc -l)" = "$1" ] || exit 1
done
"""


def private_folders() -> None:
    need("bubblewrap")
    require("bubblewrap", None if bubblewrap.probe().private_folders else "commands cannot have private folders here")


@asynchronous
async def test_no_other_command_reaches_private_folders() -> None:
    private_folders()
    async with opened("bubblewrap") as sandbox:
        intruder = await sandbox.spawn(INTRUDER)
        result = await sandbox.exec(["bash", "-c", TESTS, "tests", "hidden\nmine\n5"], private=PRIVATE)
        assert (result.exit_code, result.stdout, result.stderr) == (0, b"", b"")
        await intruder.kill()
        assert (await sandbox.exec("cat stolen /tests/secret")).stdout == b""


@asynchronous
async def test_the_tracer_of_a_private_command_is_refused() -> None:
    private_folders()
    async with opened("bubblewrap") as sandbox:
        await sandbox.spawn("sleep 20")
        private = asyncio.create_task(sandbox.exec("echo $$ >pid; sleep 1.5", private=PRIVATE))
        tracer = (
            "import ctypes, sys\n"
            "libc = ctypes.CDLL(None)\n"
            "print(*[libc.ptrace(16, int(pid), None, None) for pid in sys.argv[1:]])\n"
        )
        script = f"while [ ! -s pid ]; do sleep 0.02; done; python3 -c '{tracer}' $(cat pid) 1 $PPID $(pgrep -o sleep)"
        assert (await sandbox.exec(script, timeout=30)).stdout == b"-1 -1 -1 0\n"
        assert (await private).exit_code == 0


@asynchronous
async def test_a_private_command_shares_everything_else() -> None:
    private_folders()
    async with opened("bubblewrap") as sandbox:
        await sandbox.exec(
            "mkdir -p /logs/other /tests/old /app; echo 1 >/logs/other/file; echo 2 >/top; ln -s top /link"
        )
        process = await sandbox.spawn("echo ready; while [ ! -e answer ]; do sleep 0.02; done; cat /app/answer")
        listing = "ls /; find /usr/bin /etc /dev | wc -l; cat /logs/other/file /link; umask; pwd"
        before = (await sandbox.exec(listing)).stdout
        inside = await sandbox.exec(f"{listing}; echo 3 >/app/answer; touch answer", private=PRIVATE)
        assert inside.stdout == before
        assert await process.wait(10) == 0
        assert process.read()[0] == b"ready\n3\n"
        # What was there before is hidden while the command runs.
        assert (await sandbox.exec("ls -A /tests /logs/verifier", private=PRIVATE)).stdout == (
            b"/logs/verifier:\n\n/tests:\n"
        )
        assert (await sandbox.exec("ls /tests")).stdout == b"old\n"


@asynchronous
@pytest.mark.parametrize(
    "before",
    ["ln -s /elsewhere /tests; ln -s . /logs", "touch /tests /logs", "mkdir -p /tests /logs; chmod 000 /tests /logs"],
)
async def test_private_folders_come_whatever_was_in_their_place(before: str) -> None:
    private_folders()
    async with opened("bubblewrap") as sandbox:
        await sandbox.exec(before)
        result = await sandbox.exec("touch /tests/a /logs/verifier/b && ls /tests /logs/verifier", private=PRIVATE)
        assert result.stdout == b"/logs/verifier:\nb\n\n/tests:\na\n", result.stderr


@asynchronous
async def test_without_bubblewrap_there_are_no_private_folders() -> None:
    async with opened("local") as sandbox:
        assert not sandbox.capabilities.private_folders
        with pytest.raises(Unsupported):
            await sandbox.exec("true", private=PRIVATE)


@asynchronous
async def test_all_processes_end_and_files_stay(backend: str, alive: Alive) -> None:
    async with opened(backend) as sandbox:
        seconds = marker()
        await sandbox.exec(
            f"echo kept >file; (setsid sleep {seconds} & setsid sh -c 'sleep {seconds} & wait' &);"
            f"trap '' TERM HUP INT USR1 USR2; sleep {seconds} & nohup sleep {seconds} >/dev/null 2>&1 &"
        )
        process = await sandbox.spawn(f"sleep {seconds}; sleep {seconds}")
        assert await appeared(alive, seconds, 5)
        await sandbox.end_processes()
        assert alive(seconds) == []
        assert await process.wait(5) == 137
        for _ in range(3):
            assert (await sandbox.exec("cat file")).stdout == b"kept\n"


@asynchronous
async def test_nothing_runs_in_a_frozen_sandbox(backend: str, alive: Alive) -> None:
    async with opened(backend) as sandbox:
        seconds = marker()
        await sandbox.exec(f"sleep {seconds} &")
        await sandbox.freeze()
        await sandbox.freeze()
        assert await vanished(alive, seconds)
        with pytest.raises(InfrastructureError, match="frozen"):
            await sandbox.exec("true")


@asynchronous
async def test_files_are_pulled_as_they_are_downloaded(backend: str) -> None:
    async with opened(backend) as sandbox:
        await sandbox.exec(
            "mkdir -p work/in/er work/empty; cd work; echo 1 >in/er/file; chmod 640 in/er/file; ln in/er/file hard;"
            "ln -s /etc/passwd soft; ln -s none dangling; mkfifo fifo; touch $'odd\\n\\xff' '-rf' .hidden;"
            "truncate -s 3M hole; chmod 700 in; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s\")'"
        )
        downloaded = io.BytesIO()
        await sandbox.download("work", downloaded)
        await sandbox.freeze()
        assert members(await pulled(sandbox, "work")) == members(downloaded.getvalue())
        assert members(await pulled(sandbox, f"{sandbox.home}/work/in/er/file")) == {("file", b"0", 0o640, "", 2)}
        # A symlink itself, never what it leads to.
        assert members(await pulled(sandbox, "work/soft")) == {("soft", b"2", 0o777, "/etc/passwd", 0)}
        with pytest.raises(FileNotFoundError, match=r"there is no '.*/none' in the sandbox"):
            await pulled(sandbox, "none")


@asynchronous
async def test_more_than_can_be_copied_is_refused_before_it_is_read(backend: str) -> None:
    async with opened(backend) as sandbox:
        await sandbox.exec("truncate -s 5G hole")
        await sandbox.freeze()
        with pytest.raises(OSError, match="there is more than can be copied") as caught:
            await pulled(sandbox, sandbox.home)
        assert caught.value.errno is None  # it is nothing of this machine's


async def pulled(sandbox: Sandbox, path: str) -> bytes:
    stream = io.BytesIO()
    await sandbox.pull(path, stream)
    return stream.getvalue()


def members(tar: bytes) -> set[tuple[str, bytes, int, str, int]]:
    """Name, type, mode, target and size; which one of two hard links is the file does not matter."""
    found = set()
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            inode = member.name.endswith(("/hard", "/file"))
            kind = b"hard link" if inode else member.type
            size = 0 if inode else member.size
            found.add((member.name, kind, member.mode, "" if inode else member.linkname, size))
    return found


#: Has as many processes as there may be, and takes the place of each one that ends.
FILLER = """
import os, time
full = False
while True:
    try:
        if os.fork() == 0:
            time.sleep(100)
            os._exit(0)
    except OSError:
        full = full or print("full") is None
        time.sleep(0.01)
"""


@asynchronous
async def test_too_many_processes_are_the_sandboxs_own_doing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_hermes.sandbox.subreapers._CROWDED_TIMEOUT", 0.3)
    need("bubblewrap")
    require("bubblewrap", None if bubblewrap.probe().limited else "the number of processes cannot be limited here")
    async with opened("bubblewrap", pids=50) as sandbox:
        filler = await sandbox.spawn(["python3", "-u", "-c", FILLER])
        while not filler.read()[0]:
            await asyncio.sleep(0.05)
            assert filler.poll() is None
        with pytest.raises(SandboxBroken, match="too many processes"):
            await sandbox.exec("true")
        with pytest.raises(SandboxBroken, match="too many processes"):
            await sandbox.exec("true", private=PRIVATE)
        background = await sandbox.spawn("touch started")
        await background.kill()
        await sandbox.end_processes()
        assert (await sandbox.exec("echo on; ls")).stdout == b"on\n"


@asynchronous
async def test_the_main_process_can_be_neither_ended_nor_read_from_inside() -> None:
    async with opened("bubblewrap") as sandbox:
        await sandbox.exec("for number in $(seq 64); do kill -$number 1; done")
        await sandbox.exec("for _ in $(seq 300); do kill -USR2 1; kill -USR2 $PPID; kill -CHLD 1; done")
        for name in ("environ", "mem", "maps", "root/etc/passwd", "fd/0", "cwd/etc/passwd"):
            for pid in ("1", "$PPID"):
                read = await sandbox.exec(f"head -c 1 /proc/{pid}/{name} >/dev/null")
                assert read.exit_code == 1, name
        assert (await sandbox.exec("kill -9 -1")).exit_code == 137
        assert (await sandbox.exec("echo on")).stdout == b"on\n"


@asynchronous
async def test_the_kernels_settings_cannot_be_changed_from_inside() -> None:
    async with opened("bubblewrap") as sandbox:
        places = "/proc/sys /proc/irq /proc/bus /proc/fs /proc/sysrq-trigger"
        assert (await sandbox.exec(f"find {places} -writable -type f")).stdout == b""
        written = await sandbox.exec("cat /proc/sys/kernel/core_pattern >/proc/sys/kernel/core_pattern")
        assert written.exit_code == 1

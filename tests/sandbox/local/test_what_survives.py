"""What the local sandbox leaves behind, whatever was done in it and however its owner ends."""

# ruff: noqa: ASYNC240 - nothing else runs on the loop

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_hermes.core.processes import start_of
from pytest_hermes.sandbox import folder
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.sandbox.supervisor.emptying import empty
from pytest_hermes.task import SandboxSpec
from tests.sandbox.backends import need, opened
from tests.sandbox.test_contract import marker

asynchronous = pytest.mark.asyncio

Alive = Callable[[str], list[int]]


@asynchronous
async def test_the_folder_is_removed_whatever_was_done_to_it(backend: str) -> None:
    outside = Path(tempfile.mkdtemp(dir="/tmp"))
    (outside / "file").write_text("kept")
    outside.chmod(0o755)
    try:
        async with opened(backend) as sandbox:
            await sandbox.exec(
                f"mkdir -p a/b/c; touch a/b/c/f; ln -s {outside} a/link; ln -s {outside} link; chmod 000 a/b/c a/b a;"
                "touch $'odd\\n\\xff'; mkfifo fifo; chmod 000 . ..; cd /; chmod 500 $OLDPWD"
            )
            # Deeper than a path can say.
            await sandbox.exec("cd; p=$(printf 'deep/%.0s' $(seq 700)); mkdir -p $p && cd $p && mkdir -p $p")
            path = Path(sandbox.home).parent
            assert path.is_dir()
        assert not path.exists()
        assert (outside / "file").read_text() == "kept"
        assert outside.stat().st_mode & 0o777 == 0o755
    finally:
        empty(str(outside))
        outside.rmdir()


def test_what_dead_owners_left_is_swept_and_no_one_elses(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    other = subprocess.Popen(["sleep", "60"])
    try:
        mine, theirs = start_of(os.getpid()), start_of(other.pid)
        names = {
            f"hermes-{dead.pid}-1-0123abcd": True,
            f"hermes-{other.pid}-{theirs}-0123abcd": False,
            f"hermes-{other.pid}-{int(theirs) + 1}-0123abcd": True,  # the number of a dead process, used again
            f"hermes-{os.getpid()}-{mine}-0123abcd": False,
            "hermes-notes": False,
            f"hermes-{dead.pid}-1-short": False,
        }
        for name in names:
            (tmp_path / name / "home").mkdir(parents=True)
        (tmp_path / f"hermes-{dead.pid}-1-0000000f").write_text("a file")
        (tmp_path / f"hermes-{dead.pid}-1-0000000e").symlink_to(tmp_path)
        swept = folder.sweep(str(tmp_path))
        assert sorted(swept) == sorted(str(tmp_path / name) for name, gone in names.items() if gone)
        assert all((tmp_path / name).exists() != gone for name, gone in names.items())
        assert len(list(tmp_path.iterdir())) == 6
    finally:
        other.kill()
        other.wait()


def test_a_folder_in_use_is_not_swept_though_its_owner_seems_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in another container that shares the temporary folder: there our process id means nothing.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    used = folder.SandboxFolder()
    used.make()
    elsewhere = tmp_path / "hermes-4194304-1-0123abcd"
    os.rename(used.path, elsewhere)
    assert folder.sweep(str(tmp_path)) == []
    used.remove()
    assert folder.sweep(str(tmp_path)) == [str(elsewhere)]


@asynchronous
async def test_cancelling_a_start_leaves_nothing(backend: str) -> None:
    need(backend)
    for pause in (0, 0.001, 0.003, 0.006, 0.01, 0.015, 0.02):
        sandbox = LocalSandbox(SandboxSpec(), name="test", isolation="none" if backend == "local" else "bubblewrap")
        starting = asyncio.create_task(sandbox.start())
        await asyncio.sleep(pause)
        starting.cancel()
        try:
            await starting
        except asyncio.CancelledError:
            assert not os.path.exists(sandbox.home)
        await sandbox.close()
        assert not os.path.exists(sandbox.home)


@asynchronous
async def test_no_descriptor_is_left_open(backend: str) -> None:
    async def one() -> None:
        async with opened(backend) as sandbox:
            await sandbox.exec("echo >&2; sleep 30 &", stdin=b"x" * (2 << 20))
            await sandbox.exec("sleep 30", timeout=0.05)
            await sandbox.spawn("sleep 30")

    await one()
    before = sorted(os.listdir("/proc/self/fd"))
    await one()
    assert sorted(os.listdir("/proc/self/fd")) == before


KILLED = """
    import asyncio, sys
    from pytest_hermes.sandbox.local import LocalSandbox
    from pytest_hermes.task import SandboxSpec

    async def main(isolation, seconds):
        async def one():
            sandbox = LocalSandbox(SandboxSpec(), name="test", isolation=isolation)
            await sandbox.start()
            print(sandbox.home, flush=True)
            await sandbox.exec(f"nohup sleep {seconds} >/dev/null & (setsid sh -c 'sleep {seconds} & wait' &) ; true")
            await sandbox.exec(f"touch file; trap '' TERM HUP; sleep {seconds}; sleep {seconds}")

        await asyncio.gather(one(), one(), one())

    asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


@pytest.mark.parametrize("forked", [False, True])
def test_nothing_survives_when_pytest_is_killed(backend: str, alive: Alive, tmp_path: Path, forked: bool) -> None:
    need(backend)
    seconds = marker()
    # With a fork that holds a copy of every descriptor, so that no socket ends with its owner.
    fork = "\n    import threading, os, time\n    threading.Timer(1, lambda: os.fork() or time.sleep(20)).start()"
    script = textwrap.dedent(("    import os" if not forked else fork.lstrip("\n")) + KILLED)
    owner = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, "none" if backend == "local" else "bubblewrap", seconds],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert owner.stdout is not None
    try:
        homes = [owner.stdout.readline().decode().strip() for _ in range(3)]
        deadline = time.monotonic() + 10
        while len(alive(seconds)) < 10 and time.monotonic() < deadline:  # with their owner itself
            time.sleep(0.02)
        assert len(alive(seconds)) >= 10
        assert all(os.path.isdir(home) for home in homes)
        if forked:
            time.sleep(1.2)
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
    expected = 1 if forked else 0  # the fork itself, which has the same arguments
    while len(alive(seconds)) > expected and time.monotonic() < deadline + 5:
        time.sleep(0.02)
    left = alive(seconds)
    for pid in left if forked else []:
        os.kill(pid, signal.SIGKILL)
    assert len(left) == expected
    for _ in range(100):
        if not any(os.path.exists(home) for home in homes):
            break
        time.sleep(0.02)
    assert not any(os.path.exists(home) for home in homes)
    for _ in range(100):  # a fork keeps its owner's locks to the very end
        folder.sweep(str(tmp_path))
        if not list(tmp_path.iterdir()):
            break
        time.sleep(0.02)
    assert list(tmp_path.iterdir()) == []

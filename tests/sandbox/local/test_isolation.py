"""What of this machine the local sandbox shows to what runs in it."""

# ruff: noqa: ASYNC240 - nothing else runs on the loop

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pytest_hermes
from pytest_hermes.errors import UsageError
from pytest_hermes.sandbox.launch import interpreter
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.sandbox.supervisor.emptying import empty
from pytest_hermes.task import SandboxSpec
from tests.sandbox.backends import need, opened

asynchronous = pytest.mark.asyncio


def test_the_header_can_say_what_isolates() -> None:
    assert LocalSandbox.describe("none") == "local (no isolation)"
    need("bubblewrap")
    assert LocalSandbox.describe() == "local (bubblewrap)"


@asynchronous
async def test_the_environment_can_ask_for_an_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_HERMES_LOCAL_ISOLATION", "none")
    assert LocalSandbox.describe() == "local (no isolation)"
    sandbox = LocalSandbox(SandboxSpec(), name="asked")
    assert not sandbox.capabilities.own_processes
    await sandbox.start()
    try:
        assert (await sandbox.exec(["test", "-e", f"/proc/{os.getpid()}"])).exit_code == 0
    finally:
        await sandbox.close()
    monkeypatch.setenv("PYTEST_HERMES_LOCAL_ISOLATION", "bublewrap")
    with pytest.raises(UsageError, match=r"LOCAL_ISOLATION: unknown isolation 'bublewrap'; did you mean 'bubblewrap'"):
        LocalSandbox.describe()


@asynchronous
async def test_without_bwrap_there_is_no_isolation_and_the_reason_is_said(tmp_path: Path) -> None:
    script = """
        import asyncio
        from pytest_hermes.errors import HermesError
        from pytest_hermes.sandbox.local import LocalSandbox
        from pytest_hermes.task import SandboxSpec

        async def main():
            sandbox = LocalSandbox(SandboxSpec(), name="test")
            await sandbox.start()
            print((await sandbox.exec("echo works")).stdout.decode().strip(), sandbox.capabilities.own_processes)
            await sandbox.close()
            try:
                await LocalSandbox(SandboxSpec(), name="test", isolation="bubblewrap").start()
            except HermesError as error:
                print(type(error).__name__, error)

        print(LocalSandbox.describe())
        asyncio.run(main())
    """
    for name in ("bash", "cat", "sh"):
        (tmp_path / name).symlink_to(f"/bin/{name}")
    assert await _python(script, PATH=str(tmp_path)) == [
        "local (no isolation: bwrap is not on PATH)",
        "works False",
        "UsageError isolation 'bubblewrap' is not available: bwrap is not on PATH",
    ]
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions' >&2; exit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    assert (await _python(script, PATH=str(tmp_path)))[:2] == [
        "local (no isolation: bwrap does not work here: bwrap: No permissions)",
        "works False",
    ]


@asynchronous
async def test_bubblewrap_keeps_the_host_from_being_written_to(tmp_path: Path) -> None:
    async with opened("bubblewrap") as sandbox:
        for path in ("/etc/hermes-test", "/usr/hermes-test", str(tmp_path / "x"), "/dev/shm/hermes-test"):
            await sandbox.exec(["touch", path])
            assert not os.path.exists(path)
        result = await sandbox.exec("mount -o remount,rw / ; umount /tmp; mknod x b 8 0; cat /proc/sysrq-trigger")
        assert result.exit_code != 0
        (tmp_path / "file").touch()
        assert (await sandbox.exec(["ls", str(tmp_path)])).exit_code != 0
        assert not (await sandbox.exec("ls x")).stdout
        assert (await sandbox.exec("touch /tmp/a /var/tmp/b && stat -c %a /tmp /var/tmp")).stdout == b"1777\n1777\n"


@asynchronous
async def test_bubblewrap_hides_other_processes_and_sandboxes() -> None:
    async with opened("bubblewrap") as one, opened("bubblewrap") as two:
        await two.exec("echo secret >file")
        assert (await one.exec(["cat", f"{two.home}/file"])).exit_code == 1
        assert (await one.exec(f"kill -0 {os.getpid()}")).exit_code == 1
        pids = (await one.exec("ls /proc | grep '^[0-9]' | sort -n")).stdout.split()
        assert pids[0] == b"1"
        assert len(pids) < 8
        await one.exec("kill -9 -1")
        assert (await one.exec("echo alive")).stdout == b"alive\n"


@asynchronous
async def test_bubblewrap_starts_although_a_mount_went_away_meanwhile(tmp_path: Path) -> None:
    need("bubblewrap")
    # Bubblewrap itself says this now and then where containers come and go: here it does so every other time.
    (tmp_path / "bwrap").write_text(
        f"""#!/bin/sh
if mkdir "$0.lately" 2>/dev/null; then
    echo "bwrap: Can't bind mount /oldroot/ on /newroot/: Unable to apply mount flags: remount /newroot/x: Gone" >&2
    exit 1
fi
rmdir "$0.lately"
exec {shutil.which("bwrap")} "$@"
"""
    )
    (tmp_path / "bwrap").chmod(0o755)
    script = """
        import asyncio
        from pytest_hermes.sandbox.local import LocalSandbox
        from pytest_hermes.task import SandboxSpec

        async def main():
            for _ in range(2):
                sandbox = LocalSandbox(SandboxSpec(), name="test", isolation="bubblewrap")
                await sandbox.start()
                print((await sandbox.exec("echo works")).stdout.decode().strip())
                await sandbox.close()

        print(LocalSandbox.describe())
        asyncio.run(main())
    """
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert await _python(script, PATH=path) == ["local (bubblewrap)", "works", "works"]


@asynchronous
async def test_bubblewrap_can_cut_off_the_network() -> None:
    async with opened("bubblewrap", network=False) as sandbox:
        interfaces = (await sandbox.exec("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '")).stdout
        assert interfaces == b"lo\n"
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        for network, code in ((True, 0), (False, 1)):
            async with opened("bubblewrap", network=network) as sandbox:
                assert (await sandbox.exec(f"exec 3<>/dev/tcp/127.0.0.1/{port}")).exit_code == code


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
@asynchronous
@pytest.mark.parametrize("isolation", ["none", "bubblewrap"])
async def test_it_works_for_others_than_root(isolation: str) -> None:
    if isolation == "bubblewrap":
        need("bubblewrap")
    secret = secrets.token_hex(16)
    script = f"""
        import asyncio, io, os
        from pytest_hermes.sandbox.local import LocalSandbox
        from pytest_hermes.task import SandboxSpec

        async def main():
            sandbox = LocalSandbox(SandboxSpec(), name="test", isolation={isolation!r})
            await sandbox.start()
            await sandbox.exec("mkdir -p closed/in; touch closed/in/f; chmod 000 closed/in closed")
            print((await sandbox.exec("id -u")).stdout.decode().strip(), sandbox.capabilities.own_processes)
            path = f"/proc/{{os.getpid()}}/environ"
            result = await sandbox.exec(f"cat /proc/self/environ; cat /proc/$PPID/environ && echo read; cat {{path}}")
            out = result.stdout
            print(b"LANG" in out, b"read" in out, b"{secret}" in out, result.exit_code)
            if sandbox.capabilities.private_folders:
                seen = await sandbox.exec("id -u >/tests/a; cat /tests/a; ls /", private=["/tests"])
                assert seen.stdout.startswith(b"65534\\nbin\\n"), seen
                assert (await sandbox.exec("ls /tests; kill -9 1; kill -USR2 1; cat /proc/1/environ")).stdout == b""
            await sandbox.exec("sleep 60 & echo here >file")
            await sandbox.freeze()
            with io.BytesIO() as tar:
                await sandbox.pull("file", tar)
                assert b"here" in tar.getvalue()
            await sandbox.close()
            print(os.path.exists(sandbox.home))
            # Only while there are sandboxes: a debugger may want to look.
            print("{secret}" in open(path).read())

        asyncio.run(main())
    """
    with _others_may_read() as (python, base):
        output = await _python(
            script,
            python=python,
            user=65534,
            PYTHONPATH=str(Path(pytest_hermes.__file__).parents[1]),
            PYTHONDONTWRITEBYTECODE="1",
            TMPDIR=str(base),
            SECRET=secret,
        )
    assert output == [f"65534 {isolation == 'bubblewrap'}", "True False False 1", "False", "True"]


@contextmanager
def _others_may_read() -> Iterator[tuple[str, Path]]:
    """A Python that any user can start, and a folder that any user can write to."""
    candidates = [interpreter(), *(f"{folder}/python3" for folder in ("/usr/local/bin", "/usr/bin"))]
    check = "import sys, ctypes; sys.exit(sys.version_info < (3, 11))"
    for python in candidates:
        try:
            fine = subprocess.run([python, "-c", check], user=65534, group=65534, extra_groups=[], cwd="/", check=False)
        except OSError:
            continue
        if fine.returncode == 0:
            break
    else:
        pytest.skip("no Python that other users could start")
    base = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        base.chmod(0o777)
        yield python, base
    finally:
        empty(str(base))
        base.rmdir()


@asynchronous
async def test_commands_inherit_no_descriptors(backend: str) -> None:
    async with opened(backend) as sandbox:
        result = await sandbox.exec(["ls", "/proc/self/fd"])
        assert result.stdout == b"0\n1\n2\n3\n"  # 3 is the folder that is listed


@asynchronous
async def test_commands_get_ordinary_signals_and_a_session_of_their_own(backend: str) -> None:
    async with opened(backend) as sandbox:
        result = await sandbox.exec("grep -E '^Sig(Blk|Ign)' /proc/self/status; cut -d' ' -f6 /proc/$$/stat; echo $$")
        lines = result.stdout.decode().split()
        # Those above 31 belong to the C library.
        assert [int(lines[1], 16) & 0x7FFFFFFF, int(lines[3], 16) & 0x7FFFFFFF] == [0, 0]
        assert lines[4] == lines[5]


async def _python(script: str, *, python: str = sys.executable, user: int | None = None, **env: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        python,
        "-c",
        textwrap.dedent(script),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **env},
        cwd="/",
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    return out.decode().splitlines()

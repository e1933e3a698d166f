"""What only the local sandbox has: isolation, its folder, its supervisor, what is left when pytest dies."""

# ruff: noqa: ASYNC240 - nothing else runs on the loop

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import pytest_hermes
from pytest_hermes.errors import InfrastructureError, Unsupported, UsageError
from pytest_hermes.sandbox import folder, supervisor
from pytest_hermes.sandbox.bubblewrap import hidden_folders
from pytest_hermes.sandbox.launch import interpreter
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.sandbox.nursery import REUSABLE
from pytest_hermes.sandbox.protocol import Sandbox
from pytest_hermes.sandbox.supervisor import empty
from pytest_hermes.task import SandboxSpec

from .backends import need, opened
from .test_contract import appeared, marker, vanished

asynchronous = pytest.mark.asyncio

Alive = Callable[[str], list[int]]


@pytest.fixture(params=["local", "bubblewrap"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each way in which this backend isolates."""
    return str(request.param)


def spawner_pid(sandbox: Sandbox) -> int:
    assert isinstance(sandbox, LocalSandbox)
    assert sandbox._spawner is not None
    assert sandbox._spawner.pid is not None
    return sandbox._spawner.pid


# Needs


@asynchronous
@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (SandboxSpec(image="debian:12"), r"^the local sandbox cannot run image 'debian:12'; .*--hermes-sandbox=docker"),
        (SandboxSpec(build_context=Path("/x")), "cannot run an image built from a Dockerfile; .*=docker"),
        (SandboxSpec(cpus=10_000), r"needs 10000 cpus, this machine has \d+; .*=docker"),
        (SandboxSpec(memory="900t"), r"needs \d+ MiB of memory, this machine has \d+ MiB; .*=docker"),
        (SandboxSpec(network=False), "cannot cut off the network without bubblewrap; .*=docker"),
        (SandboxSpec(workdir="/not/there"), "workdir '/not/there' .*=docker"),
        (SandboxSpec(workdir="../../../nowhere"), "workdir '/nowhere' .*=docker"),
    ],
)
async def test_what_it_cannot_give_is_unsupported(spec: SandboxSpec, reason: str) -> None:
    sandbox = LocalSandbox(spec, name="test", isolation="none")
    with pytest.raises(Unsupported, match=reason) as caught:
        await sandbox.start()
    assert "\n" not in str(caught.value)
    assert not os.path.exists(sandbox.home)
    await sandbox.close()


@asynchronous
async def test_needs_that_this_machine_meets_are_no_obstacle(backend: str) -> None:
    async with opened(backend, cpus=0.5, memory="64m", network=True, workdir="a/b") as sandbox:
        assert sandbox.workdir == f"{sandbox.home}/a/b"
        assert (await sandbox.exec("pwd")).stdout.decode() == f"{sandbox.workdir}\n"
    async with opened(backend, workdir="/usr") as sandbox:
        assert (await sandbox.exec("pwd")).stdout == b"/usr\n"


@asynchronous
async def test_a_workdir_outside_of_home_is_made_where_that_is_safe() -> None:
    async with opened("bubblewrap", workdir="/tmp/new/work") as sandbox:
        assert (await sandbox.exec("pwd")).stdout == b"/tmp/new/work\n"
    assert not os.path.exists("/tmp/new/work")
    with pytest.raises(Unsupported, match=r"workdir '/opt/hermes-test/x' \(mkdir: .*\); use"):
        async with opened("bubblewrap", workdir="/opt/hermes-test/x"):
            pass


@asynchronous
async def test_the_hosts_variables_are_not_passed_on_but_a_few(backend: str) -> None:
    async with opened(backend, env={"MINE": "1"}) as sandbox:
        names = (await sandbox.exec(["env"])).stdout.decode().splitlines()
        assert sorted(line.split("=")[0] for line in names) == ["HOME", "LANG", "MINE", "PATH", "TERM"]


# Isolation


def test_the_header_can_say_what_isolates() -> None:
    assert LocalSandbox.describe("none") == "local (no isolation)"
    need("bubblewrap")
    assert LocalSandbox.describe() == "local (bubblewrap)"


@asynchronous
async def test_the_environment_can_ask_for_an_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_HERMES_LOCAL_ISOLATION", "none")
    assert LocalSandbox.describe() == "local (no isolation)"
    sandbox = LocalSandbox(SandboxSpec(), name="asked")
    assert sandbox.capabilities.isolation == "no isolation"
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
            print((await sandbox.exec("echo works")).stdout.decode().strip(), sandbox.capabilities.isolation)
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
        "works no isolation",
        "UsageError isolation 'bubblewrap' cannot be had: bwrap is not on PATH",
    ]
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions' >&2; exit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    assert (await _python(script, PATH=str(tmp_path)))[:2] == [
        "local (no isolation: bwrap does not work here: bwrap: No permissions)",
        "works no isolation",
    ]


@asynchronous
async def test_bubblewrap_keeps_the_host_from_being_written_to(tmp_path: Path) -> None:
    async with opened("bubblewrap") as sandbox:
        for path in ("/etc/hermes-test", "/usr/hermes-test", str(tmp_path / "x"), "/dev/shm/hermes-test"):
            await sandbox.exec(["touch", path])
            assert not os.path.exists(path)
        result = await sandbox.exec("mount -o remount,rw / ; umount /tmp; mknod x b 8 0; cat /proc/sysrq-trigger")
        assert result.exit_code != 0
        assert (await sandbox.exec("ls -A /tmp")).stdout.decode() == f"{Path(sandbox.home).parent.name}\n"
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
async def test_bubblewrap_hides_credentials_and_engine_sockets(tmp_path: Path) -> None:
    need("bubblewrap")
    # Where the sandbox can see it: not below the temporary folder.
    home = _visible_folder()
    try:
        for name in (".netrc", ".ssh/id_ed25519", ".cache/huggingface/token", "readable"):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(f"contents of {name}\n")
        (home / "engine.sock").write_text("a socket\n")
        script = f"""
            import asyncio
            from pytest_hermes.sandbox.local import LocalSandbox
            from pytest_hermes.task import SandboxSpec

            async def main():
                sandbox = LocalSandbox(SandboxSpec(), name="test", isolation="bubblewrap")
                await sandbox.start()
                result = await sandbox.exec("cd {home} && cat $(find . -type f) engine.sock; ls -A /run")
                print(result.stdout.decode(), end="")
                await sandbox.close()

            asyncio.run(main())
        """
        assert await _python(script, HOME=str(home), DOCKER_HOST=f"unix://{home}/engine.sock") == [
            "contents of readable"
        ]
    finally:
        empty(str(home))
        os.rmdir(home)


def _visible_folder() -> Path:
    for parent in ("/opt", os.path.expanduser("~"), os.getcwd()):
        if os.access(parent, os.W_OK) and not any(Path(parent).is_relative_to(path) for path in hidden_folders()):
            return Path(tempfile.mkdtemp(prefix="hermes-test-", dir=parent))
    pytest.skip("no folder that the sandbox could see can be written to")


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
        assert sandbox.capabilities.network_none
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
        import asyncio, os
        from pytest_hermes.sandbox.local import LocalSandbox
        from pytest_hermes.task import SandboxSpec

        async def main():
            sandbox = LocalSandbox(SandboxSpec(), name="test", isolation={isolation!r})
            await sandbox.start()
            await sandbox.exec("mkdir -p closed/in; touch closed/in/f; chmod 000 closed/in closed")
            print((await sandbox.exec("id -u")).stdout.decode().strip(), sandbox.capabilities.isolation)
            path = f"/proc/{{os.getpid()}}/environ"
            result = await sandbox.exec(f"cat /proc/$PPID/environ; cat {{path}}")
            print(b"LANG" in result.stdout, b"{secret}" in result.stdout, result.exit_code)
            await sandbox.close()
            print(os.path.exists(sandbox.home))
            # Only while there are sandboxes: a debugger may want to look.
            print("{secret}" in open(path).read())

        asyncio.run(main())
    """
    with _others_may_read() as (python, base):
        said = await _python(
            script,
            python=python,
            user=65534,
            PYTHONPATH=str(Path(pytest_hermes.__file__).parents[1]),
            PYTHONDONTWRITEBYTECODE="1",
            TMPDIR=str(base),
            SECRET=secret,
        )
    shown = "bubblewrap" if isolation == "bubblewrap" else "no isolation"
    assert said == [f"65534 {shown}", "True False 1", "False", "True"]


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


# Its folder


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
        mine, theirs = folder._start_time(os.getpid()), folder._start_time(other.pid)
        names = {
            f"hermes-{dead.pid}-1-0123abcd": True,
            f"hermes-{other.pid}-{theirs}-0123abcd": False,
            f"hermes-{other.pid}-{theirs + 1}-0123abcd": True,  # the number of a dead process, used again
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


# Ends


@asynchronous
async def test_a_dead_supervisor_is_an_infrastructure_error(backend: str, alive: Alive) -> None:
    async with opened(backend) as sandbox:
        seconds = marker()
        running = [asyncio.create_task(sandbox.exec(f"setsid sleep {seconds} & sleep {seconds}")) for _ in range(3)]
        process = await sandbox.spawn(f"sleep {seconds}")
        assert await appeared(alive, seconds, 7)
        os.kill(spawner_pid(sandbox), signal.SIGKILL)
        for task in running:
            with pytest.raises(InfrastructureError, match="the sandbox has died") as caught:
                await asyncio.wait_for(task, 5)
            assert caught.value.kind == "sandbox"
        assert process.poll() == 137
        with pytest.raises(InfrastructureError):
            await sandbox.exec("true")
        assert await vanished(alive, seconds)
    assert not os.path.exists(sandbox.home)


@asynchronous
async def test_killing_what_runs_a_command_ends_that_command_alone(backend: str, alive: Alive) -> None:
    async with opened(backend) as sandbox:
        text = marker()
        assert (await sandbox.exec(f"sleep {text} & kill -9 $PPID; sleep 60", timeout=30)).exit_code == 137
        # It may be kept for the next command.
        other = await sandbox.spawn("echo $PPID; sleep 0.3")
        mine = (await sandbox.exec("echo $PPID")).stdout.decode().strip()
        assert await other.wait(30) == 0
        await sandbox.exec(f"kill -9 {mine} {other.read()[0].decode().strip()}")
        for _ in range(5):
            assert (await sandbox.exec("echo on")).stdout == b"on\n"
    assert await vanished(alive, text)


@asynchronous
async def test_a_kill_that_comes_late_does_not_hit_the_next_command(backend: str) -> None:
    async with opened(backend) as sandbox:
        for number in range(40):
            process = await sandbox.spawn("true")
            await asyncio.sleep(number * 0.0002)
            killing = asyncio.create_task(process.kill())
            assert (await sandbox.exec("echo on")).stdout == b"on\n"
            await killing


@asynchronous
@pytest.mark.skipif(not REUSABLE, reason="only on Linux do supervisors serve one sandbox after another")
async def test_a_supervisor_serves_the_next_sandbox_and_nothing_of_the_last_is_left(alive: Alive) -> None:
    async with opened("local"):  # so that there is a nursery all the time
        marks = [marker() for _ in range(3)]
        async with opened("local") as sandbox:
            pid = spawner_pid(sandbox)
            left = f"(setsid sleep {marks[0]} &) ; sleep {marks[1]} & echo left > note"
            await asyncio.gather(*(sandbox.exec("true") for _ in range(3)))
            await sandbox.exec(left)
            await sandbox.spawn(f"sleep {marks[2]}")
            for mark in marks:
                assert await appeared(alive, mark)
            home = sandbox.home
        assert [alive(mark) for mark in marks] == [[], [], []]
        assert not os.path.exists(home)
        async with opened("local", env={"ONE": "1"}) as sandbox:
            assert spawner_pid(sandbox) == pid
            assert sandbox.home != home
            said = await sandbox.exec("echo $ONE; ls -A; pwd")
            assert said.stdout.decode().split() == ["1", sandbox.workdir]
            assert supervisor.children(pid) != []
    assert not os.path.exists(f"/proc/{pid}")


@asynchronous
@pytest.mark.skipif(not REUSABLE, reason="only on Linux do supervisors serve one sandbox after another")
async def test_an_idle_supervisor_that_died_is_not_asked() -> None:
    async with opened("local"):
        async with opened("local") as sandbox:
            pid = spawner_pid(sandbox)
        os.kill(pid, signal.SIGKILL)
        assert await vanished(lambda path: [pid] * os.path.exists(path), f"/proc/{pid}")
        async with opened("local") as sandbox:
            assert spawner_pid(sandbox) != pid
            assert (await sandbox.exec("echo hi")).stdout == b"hi\n"


@asynchronous
async def test_a_supervisor_that_does_not_answer_is_killed(
    backend: str, alive: Alive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_hermes.sandbox.spawner._END_TIMEOUT", 0.3)
    async with opened(backend) as sandbox:
        seconds = marker()
        await sandbox.exec(f"sleep {seconds} &")
        assert await appeared(alive, seconds)
        pid = spawner_pid(sandbox)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        stopped = int(children[0]) if backend == "bubblewrap" else pid
        os.kill(stopped, signal.SIGSTOP)
        await asyncio.wait_for(sandbox.close(), 5)
        assert await vanished(alive, seconds)


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
async def test_many_sandboxes_live_in_one_loop(backend: str) -> None:
    async def one(number: int) -> None:
        async with opened(backend) as sandbox:
            await sandbox.exec(f"echo {number} >file")
            assert (await sandbox.exec("cat file")).stdout == b"%d\n" % number

    await asyncio.gather(*(one(number) for number in range(48)))


def test_sandboxes_on_other_loops_live_on_when_a_loop_ends(backend: str) -> None:
    async def one(inner: Callable[[], None]) -> bytes:
        async with opened(backend) as sandbox:
            await asyncio.to_thread(inner)
            return (await sandbox.exec("echo on")).stdout

    def inner() -> None:
        assert asyncio.run(one(lambda: None)) == b"on\n"

    assert asyncio.run(one(inner)) == b"on\n"


@asynchronous
async def test_sandboxes_can_be_started_when_those_before_were_killed(backend: str) -> None:
    async with opened(backend) as sandbox, opened(backend):
        status = Path(f"/proc/{spawner_pid(sandbox)}/status").read_text()
        parent = int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])
        os.kill(spawner_pid(sandbox) if parent == os.getpid() else parent, signal.SIGKILL)
        with pytest.raises(InfrastructureError, match="the sandbox has died"):
            await sandbox.exec("sleep 30")
        async with opened(backend) as another:
            assert (await another.exec("echo on")).stdout == b"on\n"


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


async def _python(script: str, *, python: str = sys.executable, user: int | None = None, **env: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        python,
        "-c",
        textwrap.dedent(script),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **env},
        cwd="/",
        **({} if user is None else {"user": user, "group": user, "extra_groups": []}),
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    return out.decode().splitlines()

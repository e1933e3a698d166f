"""What every backend promises; see `Sandbox`. Shell sessions and copies are built on it and held to it as well."""

from __future__ import annotations

import asyncio
import io
import os
import resource
import secrets
import time
from collections.abc import Callable

import pytest

from pytest_hermes.errors import InfrastructureError, Unsupported
from pytest_hermes.sandbox.protocol import Sandbox
from pytest_hermes.sandbox.shell import Shell
from pytest_hermes.task import SandboxSpec

from .backends import BACKENDS, need, opened

pytestmark = pytest.mark.asyncio

Alive = Callable[[str], list[int]]


def marker() -> str:
    """A duration for sleep(1) that no other process has among its arguments."""
    return f"1{secrets.randbelow(10**9):09}"


async def vanished(alive: Alive, text: str, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while alive(text):
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.02)
    return True


async def appeared(alive: Alive, text: str, count: int = 1) -> bool:
    end = time.monotonic() + 5
    while len(alive(text)) < count:
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.02)
    return True


# What a command is


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("true", 0),
        ("exit 7", 7),
        ("exec false", 1),
        ("set -e; false; exit 3", 1),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
        ("hermes-has-no-such-command", 127),
        (["false"], 1),
        (["hermes-has-no-such-command"], 127),
        (["/"], 126),
    ],
)
async def test_exit_codes(sandbox: Sandbox, command: str | list[str], code: int) -> None:
    result = await sandbox.exec(command)
    assert result.exit_code == code
    assert not result.timed_out
    assert (await sandbox.exec("echo fine")).stdout == b"fine\n"


async def test_a_command_that_does_not_exist_is_named(sandbox: Sandbox) -> None:
    assert b"no-such-command: command not found" in (await sandbox.exec(["no-such-command"])).stderr


async def test_both_streams_come_back_apart_and_exactly(sandbox: Sandbox) -> None:
    result = await sandbox.exec(r"printf 'a\0\377'; printf 'e\0\376\n' >&2")
    assert result.stdout == b"a\0\xff"
    assert result.stderr == b"e\0\xfe\n"
    assert (result.stdout_total, result.stderr_total, result.truncated) == (3, 4, False)


async def test_arguments_are_passed_as_they_are(sandbox: Sandbox) -> None:
    arguments = ["", " ", "a b", "$HOME", "'\"", "\n", "ünï", "*", "-n"]
    result = await sandbox.exec(["printf", "%s\\0", *arguments])
    assert result.stdout.decode().split("\0")[:-1] == arguments


async def test_it_starts_in_the_workdir_with_its_home(sandbox: Sandbox) -> None:
    result = await sandbox.exec('printf "%s\\0" "$PWD" "$HOME"')
    assert result.stdout.decode().split("\0")[:-1] == [sandbox.workdir, sandbox.home]


async def test_cwd_may_be_relative_to_the_workdir(sandbox: Sandbox) -> None:
    await sandbox.exec(["mkdir", "-p", "a/b"])
    assert (await sandbox.exec("pwd", cwd="a/b")).stdout.decode() == f"{sandbox.workdir}/a/b\n"
    assert (await sandbox.exec("pwd", cwd="/usr")).stdout == b"/usr\n"


async def test_a_missing_cwd_is_named(sandbox: Sandbox) -> None:
    result = await sandbox.exec("echo here", cwd="/not/there")
    assert result.exit_code == 126
    assert b"'/not/there'" in result.stderr
    assert result.stdout == b""


async def test_env_adds_to_the_variables_of_the_task(backend: str) -> None:
    # Also those by which a harness might call its own.
    own = {name: name for name in ("mark", "number", "folder", "input", "code", "command", "state")}
    async with opened(backend, env={"GIVEN": "task", "KEPT": "x y\nz", **own}) as sandbox:
        result = await sandbox.exec('printf "%s|" "$GIVEN" "$KEPT" "$MORE"', env={"GIVEN": "call", "MORE": "1"})
        assert result.stdout == b"call|x y\nz|1|"
        result = await sandbox.exec('printf \'%s \' "$mark" "$number" $folder $input $code $command $state')
        assert result.stdout.decode().split() == list(own)
        assert (await sandbox.exec("printf %s $GIVEN")).stdout == b"task"


async def test_who_runs_a_command_can_be_chosen_where_that_is_claimed(sandbox: Sandbox) -> None:
    if sandbox.capabilities.users:
        assert (await sandbox.exec("id -u", user="65534")).stdout == b"65534\n"
    else:
        with pytest.raises(Unsupported, match="cannot run a command as user '65534'"):
            await sandbox.exec("id -u", user="65534")


async def test_many_and_large_variables_work_or_are_a_clear_error(sandbox: Sandbox) -> None:
    many = {f"V{number}": "x" * 1000 for number in range(1000)}
    result = await sandbox.exec("printf %s ${#V999}", env=many)
    assert (result.exit_code, result.stdout) == (0, b"1000")
    result = await sandbox.exec("printf %s ${#BIG}", env={"BIG": "x" * (1 << 20)})
    assert result.stdout == b"1048576" or (result.exit_code == 126 and b"larger than" in result.stderr)
    assert (await sandbox.exec("echo on")).stdout == b"on\n"


async def test_stdin_is_what_is_given_then_ends(sandbox: Sandbox) -> None:
    assert (await sandbox.exec("cat")).stdout == b""
    data = os.urandom(3 << 20)
    result = await sandbox.exec("cat; echo end >&2", stdin=data, max_output=4 << 20)
    assert (result.stdout == data, result.stderr) == (True, b"end\n")
    file = io.BytesIO(b"skipped" + data)
    file.seek(7)
    result = await sandbox.exec("cat", stdin=file, max_output=4 << 20)
    assert result.stdout == data


async def test_a_command_need_not_read_its_stdin(sandbox: Sandbox) -> None:
    result = await sandbox.exec("echo done", stdin=b"x" * (2 << 20))
    assert (result.exit_code, result.stdout) == (0, b"done\n")


async def test_durations_are_seconds(sandbox: Sandbox) -> None:
    # It begins when this process hears of it, which may be late.
    assert 0.1 <= (await sandbox.exec("sleep 0.3")).duration < 5


# Large output


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_hundreds_of_megabytes_of_output_cost_little_memory(sandbox: Sandbox, stream: str) -> None:
    await sandbox.exec("head -c 10m /dev/zero")
    before = resident()
    redirect = "" if stream == "stdout" else ">&2"
    peak, watching = [before], asyncio.create_task(_watch_memory())
    result = await sandbox.exec(f"echo first; head -c 300000000 /dev/zero {redirect}; echo last {redirect}")
    peak.append(await _stop(watching))
    size = 300_000_005 + (6 if stream == "stdout" else 0)
    assert getattr(result, f"{stream}_total") == size
    assert result.truncated
    kept = getattr(result, stream)
    assert len(kept) <= 1 << 20
    assert kept.endswith(b"\0last\n")
    assert b"bytes left out" in kept
    assert max(peak) - before < 50 << 20


async def test_max_output_keeps_both_ends(sandbox: Sandbox) -> None:
    result = await sandbox.exec("seq 100000", max_output=1000)
    assert len(result.stdout) <= 1000
    assert result.stdout.startswith(b"1\n2\n3\n")
    assert result.stdout.endswith(b"99999\n100000\n")
    assert (result.stdout_total, result.truncated) == (588895, True)


async def test_stdout_can_go_to_a_file_as_a_whole(sandbox: Sandbox) -> None:
    file = io.BytesIO()
    result = await sandbox.exec("seq 100000; echo err >&2", stdout_to=file, max_output=10)
    assert (result.stdout, result.stdout_total, result.stderr, result.truncated) == (b"", 588895, b"err\n", False)
    assert file.getvalue().startswith(b"1\n2\n")
    assert len(file.getvalue()) == 588895


async def test_a_file_that_takes_no_more_ends_the_command(sandbox: Sandbox, alive: Alive) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError("no space left")

    seconds = marker()
    with pytest.raises(OSError, match="no space left"):
        await sandbox.exec(f"echo x; sleep {seconds}", stdout_to=Full())
    assert await vanished(alive, seconds)


# Ends


async def test_a_background_process_holds_nothing_up_and_dies_at_close(sandbox: Sandbox, alive: Alive) -> None:
    seconds = marker()
    result = await sandbox.exec(f"sleep {seconds} & echo hi")
    assert result.stdout == b"hi\n"
    assert result.duration < 1
    assert await appeared(alive, seconds)
    await asyncio.sleep(0.1)
    assert alive(seconds)
    await sandbox.close()
    assert not alive(seconds)


async def test_a_chatty_background_process_neither_blocks_nor_dies(sandbox: Sandbox) -> None:
    result = await sandbox.exec("(while :; do echo noise; done) & echo $! >pid; echo hi")
    assert b"hi\n" in result.stdout
    assert result.duration < 2
    await asyncio.sleep(0.3)
    assert (await sandbox.exec("kill -0 $(cat pid)")).exit_code == 0


async def test_a_timeout_kills_the_whole_tree(sandbox: Sandbox, alive: Alive) -> None:
    seconds = marker()
    script = f"""
        echo before
        trap 'echo trapped' TERM
        (trap '' TERM HUP INT; sleep {seconds}; sleep {seconds}) &
        sleep {seconds} & sleep {seconds}; sleep {seconds}
    """
    result = await sandbox.exec(script, timeout=0.5)
    assert (result.exit_code, result.timed_out, result.stdout) == (124, True, b"before\n")
    assert 0.5 <= result.duration < 3
    assert not alive(seconds)
    assert (await sandbox.exec("echo next")).stdout == b"next\n"


async def test_a_timeout_also_kills_what_left_its_session(sandbox: Sandbox, alive: Alive) -> None:
    if not sandbox.capabilities.hard_kill:
        pytest.skip("the backend does not claim it")
    seconds = marker()
    script = f"setsid sleep {seconds} & (setsid sh -c 'sleep {seconds} & sleep {seconds} &' &); sleep {seconds}"
    waiting = asyncio.create_task(sandbox.exec(script, timeout=1))
    assert await appeared(alive, seconds, 4)
    assert (await waiting).timed_out
    assert not alive(seconds)


async def test_a_timeout_leaves_other_commands_alone(sandbox: Sandbox) -> None:
    await sandbox.exec("sleep 60 & echo $! >pid")
    other = asyncio.create_task(sandbox.exec("sleep 0.6; echo other"))
    assert (await sandbox.exec("sleep 60", timeout=0.2)).timed_out
    assert (await other).stdout == b"other\n"
    assert (await sandbox.exec("kill -0 $(cat pid)")).exit_code == 0


async def test_a_command_that_just_ended_has_not_timed_out(sandbox: Sandbox) -> None:
    for _ in range(20):
        result = await sandbox.exec("sleep 0.02", timeout=0.025)
        assert (result.exit_code, result.timed_out) in [(0, False), (124, True)]


async def test_cancelling_kills_one_command_and_no_other(sandbox: Sandbox, alive: Alive) -> None:
    seconds = marker()
    other = asyncio.create_task(sandbox.exec("sleep 0.8; echo other"))
    task = asyncio.create_task(sandbox.exec(f"setsid sleep {seconds} & sleep {seconds}"))
    assert await appeared(alive, seconds, 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(seconds)
    assert (await other).stdout == b"other\n"


async def test_a_fork_bomb_can_be_killed(sandbox: Sandbox, alive: Alive) -> None:
    name = marker()
    # With a pause in it and an end to it: it is the killing that is tested, not the machine.
    bomb = "f() { sleep 0.05; (($1 < 10)) && { f $(($1 + 1)) & f $(($1 + 1)) & }; }; f 0 & wait; sleep 60"
    assert (await sandbox.exec(["bash", "-c", bomb, name], timeout=0.4)).timed_out
    assert not alive(name)


async def test_two_hundred_commands_leave_no_zombie(sandbox: Sandbox) -> None:
    async def zombies() -> int:
        return int((await sandbox.exec("grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l")).stdout)

    before = await zombies()
    for _ in range(8):
        await asyncio.gather(*(sandbox.exec("(true &) ; true & exec true") for _ in range(25)))
    # Where there is no isolation, others' are seen as well: they come and go.
    for _ in range(50):
        if (after := await zombies()) <= before:
            break
        await asyncio.sleep(0.1)
    assert after <= before


async def test_sixteen_at_once_never_mix(sandbox: Sandbox) -> None:
    async def one(number: int) -> None:
        text = f"{number}-" * 5000
        result = await sandbox.exec(f"cat; echo {number} >&2; exit {number}", stdin=text.encode())
        assert (result.stdout.decode(), result.stderr.decode(), result.exit_code) == (text, f"{number}\n", number)

    await asyncio.gather(*(one(number) for number in range(16)))


# In the background


async def test_a_spawned_command_can_be_watched(sandbox: Sandbox) -> None:
    await sandbox.exec("mkfifo fifo")
    process = await sandbox.spawn("echo one; echo err >&2; read line <fifo; echo $line; exit 5")
    assert process.id == "bg_1"
    assert process.poll() is None
    out = err = b""
    while b"one" not in out or b"err" not in err:
        more = process.read()
        out, err = out + more[0], err + more[1]
        await asyncio.sleep(0.01)
    assert (out, err) == (b"one\n", b"err\n")
    assert process.read() == (b"", b"")
    await sandbox.exec("echo two >fifo")
    assert await process.wait(10) == 5
    assert process.poll() == 5
    assert process.read() == (b"two\n", b"")
    assert (await sandbox.spawn("true")).id == "bg_2"


async def test_waiting_for_a_spawned_command_has_an_end(sandbox: Sandbox) -> None:
    process = await sandbox.spawn("sleep 60")
    assert await process.wait(0.1) is None
    assert process.poll() is None
    await process.kill()
    assert process.poll() == 137


async def test_killing_a_spawned_command_kills_all_of_it(sandbox: Sandbox, alive: Alive) -> None:
    seconds = marker()
    process = await sandbox.spawn(f"setsid sleep {seconds} & (sleep {seconds} &); trap '' TERM; sleep {seconds}")
    assert await appeared(alive, seconds, 3)
    await process.kill()
    assert not alive(seconds)
    assert process.poll() == 137
    await process.kill()


async def test_a_spawned_commands_output_is_capped(sandbox: Sandbox) -> None:
    process = await sandbox.spawn("seq 100000", max_output=500)
    assert await process.wait(10) == 0
    out, _ = process.read()
    assert len(out) <= 500
    assert out.startswith(b"1\n2\n")
    assert out.endswith(b"100000\n")


# The end of a sandbox


async def test_close_ends_what_runs_and_may_be_called_again(sandbox: Sandbox, alive: Alive) -> None:
    seconds = marker()
    running = asyncio.create_task(sandbox.exec(f"setsid sleep {seconds} & sleep {seconds}"))
    process = await sandbox.spawn(f"sleep {seconds}")
    assert await appeared(alive, seconds, 3)
    await asyncio.gather(sandbox.close(), sandbox.close())
    assert not alive(seconds)
    assert process.poll() == 137
    with pytest.raises(InfrastructureError):
        await running
    with pytest.raises(InfrastructureError):
        await sandbox.exec("true")
    await sandbox.close()


async def test_close_finishes_when_it_is_cancelled(sandbox: Sandbox, alive: Alive) -> None:
    seconds = marker()
    await sandbox.exec(f"sleep {seconds} &")
    assert await appeared(alive, seconds)
    closing = asyncio.create_task(sandbox.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert not alive(seconds)


async def test_a_sandbox_that_was_never_started_can_be_closed(backend: str) -> None:
    need(backend)
    await BACKENDS[backend](SandboxSpec(), name="test").close()


# Secrets


async def test_the_hosts_secrets_are_nowhere(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = secrets.token_hex(16)
    monkeypatch.setenv("HERMES_TEST_API_KEY", secret)
    async with opened(backend) as sandbox:
        result = await sandbox.exec(
            "env; for f in /proc/[0-9]*/environ /proc/[0-9]*/cmdline; do tr '\\0' '\\n' <$f; done 2>/dev/null"
        )
        assert b"PATH=" in result.stdout
        assert secret.encode() not in result.stdout


# Sessions


async def test_a_session_survives_what_ends_its_shell(shell: Shell) -> None:
    for command, code in [("exit 7", 7), ("exec false", 1), ("set -e; false", 1), ("kill -9 $$", 137)]:
        assert (await shell.run(f"cd /usr; {command}")).exit_code == code
        assert (await shell.run("echo on")).stdout == b"on\n"


async def test_a_session_survives_a_timeout(shell: Shell) -> None:
    await shell.run("cd /usr; export KEPT=1")
    result = await shell.run("cd /etc; echo before; sleep 60", timeout=0.5)
    assert (result.timed_out, result.stdout) == (True, b"before\n")
    assert (await shell.run("pwd; echo $KEPT")).stdout == b"/usr\n1\n"


@pytest.mark.parametrize("kind", ["bash", "sh"])
async def test_a_session_survives_that_its_folders_are_deleted(sandbox: Sandbox, kind: str) -> None:
    """It says so once, keeps what was exported, and starts commands in no other place than before."""
    sandbox.shell = kind
    shell = Shell(sandbox)
    home = sandbox.home

    async def stdout(command: str) -> str:
        return (await shell.run(command, timeout=20)).stdout.decode()

    # Where sandboxes are not isolated, /tmp is everybody's.
    temporary = "/tmp" if sandbox.capabilities.own_processes else sandbox.scratch
    for number, deed in enumerate((f"rm -rf {sandbox.scratch}", f'rm -rf "$HOME" {temporary}', 'rm -rf "$HOME"')):
        await stdout(f"cd; export N{number}={number}; {deed} 2>/dev/null; true")
        notice = f"hermes: the folder {home} was deleted; it is there again, and empty\n" if "HOME" in deed else ""
        assert await stdout("true") == notice
        assert (
            await stdout(f"echo $N0 $N{number}; pwd; echo kept > ~/file; cat ~/file") == f"0 {number}\n{home}\nkept\n"
        )
        assert (await shell.script("mktemp -d >/dev/null && pwd")).stdout.decode() == f"{home}\n"
    # By something else than a command of the session, which then has nothing to keep.
    await sandbox.exec(f"rm -rf {sandbox.scratch}")
    lost = "hermes: the state of this shell was deleted: exported variables"
    assert (await stdout("echo on; export AGAIN=1")).startswith(lost)
    assert await stdout("echo $AGAIN") == "1\n"


async def test_a_session_goes_on_where_its_folder_cannot_be_made(shell: Shell, sandbox: Sandbox) -> None:
    await sandbox.exec(f"rm -rf {sandbox.scratch}; touch {sandbox.scratch}")
    cannot = f"hermes: {sandbox.scratch} cannot be made anew; the next command starts as this one did\n"
    for _ in range(2):
        assert (await shell.run("echo on")).stdout.decode() == f"on\n{cannot}"


def resident() -> int:
    """Bytes of memory that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


async def _watch_memory() -> int:
    peak = 0
    try:
        while True:
            peak = max(peak, resident())
            await asyncio.sleep(0.005)
    except asyncio.CancelledError:
        return max(peak, resident())


async def _stop(task: asyncio.Task[int]) -> int:
    task.cancel()
    return await task

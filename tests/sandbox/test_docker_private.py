"""Commands in containers with folders of their own: that they are as any other command, and what ends with them."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import docker
import pytest
import pytest_asyncio

from pytest_hermes.errors import InfrastructureError, SandboxBroken, Unsupported
from pytest_hermes.sandbox.docker.sandbox import DockerSandbox
from pytest_hermes.sandbox.protocol import ExecResult, Sandbox
from pytest_hermes.task import SandboxSpec
from tests.services.required import container_image

from .backends import docker_sandbox, opened
from .containers import output
from .test_contract import appeared, marker, vanished

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("docker_image"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can enter a container from outside"),
]

Alive = Callable[[str], list[int]]

#: As the verifier has them.
FOLDERS = ("/tests", "/logs/verifier")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    """A container that the tests of this module share."""
    async with opened("docker", env={"OF_TASK": "1"}, pids=100, memory="128MiB") as sandbox:
        yield sandbox


async def private(sandbox: Sandbox, command: str | list[str], **options: Any) -> ExecResult:
    return await sandbox.exec(command, private=FOLDERS, **options)


# The folders


async def test_the_folders_are_the_commands_own_and_end_with_it(sandbox: Sandbox) -> None:
    assert sandbox.capabilities.private_folders
    await output(sandbox, "mkdir -p /tests && echo before >/tests/file")
    looking = (
        "ls -A /tests /logs/verifier; echo inside >/tests/file; echo 1 >/logs/verifier/reward; touch /tmp/on; sleep 1"
    )
    running = asyncio.create_task(
        private(sandbox, f"{looking}; cat /tests/file /logs/verifier/reward; rm -rf /tests/*")
    )
    assert (
        await output(sandbox, "until [ -e /tmp/on ]; do sleep 0.05; done; cat /tests/file; ls -A /logs/verifier")
        == "before\n"
    )
    result = await running
    assert result.stdout.decode() == "/logs/verifier:\n\n/tests:\ninside\n1\n"
    assert (
        await output(sandbox, "cat /tests/file; ls -A /logs/verifier; mount | grep -c /tests || true") == "before\n0\n"
    )


async def test_the_rest_of_the_file_system_is_that_of_the_others(sandbox: Sandbox) -> None:
    await output(sandbox, "echo 1 >/shared")
    assert (await private(sandbox, "cat /shared; echo 2 >/shared; mkdir /made")).stdout == b"1\n"
    assert await output(sandbox, "cat /shared; rmdir /made") == "2\n"


async def test_what_others_run_is_in_sight_and_answers(sandbox: Sandbox) -> None:
    served = "while :; do echo served | nc -l -p 8765; done"
    await sandbox.exec(f"({served}) >/dev/null 2>&1 & echo $! >/tmp/pid")
    asked = "kill -0 $(cat /tmp/pid) && until nc 127.0.0.1 8765 </dev/null 2>/dev/null; do sleep 0.1; done"
    result = await private(sandbox, asked, timeout=20)
    assert result.stdout == b"served\n", result
    await sandbox.exec("kill -9 $(cat /tmp/pid); killall -9 nc")


async def test_a_file_or_link_in_a_folders_place_makes_way(sandbox: Sandbox) -> None:
    await output(sandbox, "rm -rf /tests; ln -s /tmp /tests")
    assert (await private(sandbox, "ls -A /tests; stat -c %F /tests")).stdout == b"directory\n"


async def test_a_link_above_a_folder_is_the_sandboxs_own_fault(sandbox: Sandbox) -> None:
    await output(sandbox, "rm -rf /logs; ln -s /tmp /logs")
    with pytest.raises(SandboxBroken, match="'/logs/verifier' cannot be a folder of the command's own"):
        await private(sandbox, "true")
    await output(sandbox, "rm /logs")


# The command

ABOUT = """
id; env | grep -v -e SHLVL -e ^_= | sort; pwd; umask; ulimit -a | grep -v -e 'file locks'; cat /proc/self/cgroup
grep -e Seccomp -e NoNewPrivs -e SigIgn -e SigBlk /proc/self/status; cat /proc/self/oom_score_adj
for name in mnt pid net uts ipc cgroup user; do [ $name = mnt ] || readlink /proc/self/ns/$name; done
for number in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$number ] && echo "descriptor $number"; done
"""


@pytest.mark.parametrize("user", ["", "0", "user", "1000", "1000:0", "4321"])
async def test_it_runs_as_any_other_command_does(sandbox: Sandbox, user: str) -> None:
    command = ["/bin/sh", "-c", ABOUT]
    for cwd in ("/tmp", "/bin/../usr/bin"):
        plain = await sandbox.exec(command, cwd=cwd, user=user, env={"A": "b"})
        other = await private(sandbox, command, cwd=cwd, user=user, env={"A": "b"})
        assert other.stdout.decode() == plain.stdout.decode()
        assert b"OF_TASK=1" in other.stdout


async def test_its_control_groups_show_as_in_any_other_command() -> None:
    sandbox = docker_sandbox(SandboxSpec(), name="test", options={"cgroupns": "private"})
    try:
        await sandbox.start()
        read = ["/bin/sh", "-c", "cat /proc/self/cgroup; readlink /proc/self/ns/cgroup"]
        assert (await private(sandbox, read)).stdout == (await sandbox.exec(read)).stdout != b""
    finally:
        await sandbox.close()


async def test_its_rights_are_those_of_the_container_and_one_of_no_use(sandbox: Sandbox) -> None:
    read = ["/bin/sh", "-c", "grep ^Cap /proc/self/status"]
    plain = dict(line.split() for line in (await sandbox.exec(read)).stdout.decode().splitlines())
    other = dict(line.split() for line in (await private(sandbox, read)).stdout.decode().splitlines())
    for name in ("CapPrm:", "CapEff:", "CapBnd:"):
        more = int(other[name], 16) ^ int(plain[name], 16)
        assert more in (1 << 35, 1 << 36)  # to wake this machine, or to keep it awake
    assert int(other["CapAmb:"], 16) == int(other["CapInh:"], 16) == more
    unprivileged = await private(sandbox, read, user="user")
    assert {line.split()[1] for line in unprivileged.stdout.decode().splitlines() if "Bnd" not in line} == {
        f"{more:016x}"
    }
    refused = await private(sandbox, "mount -t tmpfs none /tests; umount /tests; unshare -m true")
    assert refused.stderr.count(b"ermission denied") + refused.stderr.count(b"not permitted") == 3, refused


async def test_the_user_who_runs_it_owns_the_folders(sandbox: Sandbox) -> None:
    result = await private(
        sandbox, "echo 1 >/logs/verifier/reward; stat -c %U:%a /tests /logs/verifier/reward", user="user"
    )
    assert result.stdout == b"user:755\nuser:644\n"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["no-such-program"], 127, "no-such-program: command not found"),
        (["/no/such"], 127, "/no/such: not found"),
        (["/etc/passwd"], 126, "/etc/passwd: Permission denied"),
        (["/bin/sh", "-c", "exit 7"], 7, ""),
        (["/bin/sh", "-c", "kill -TERM $$"], 143, ""),
        (["true", "\0"], 126, "arguments cannot hold a NUL"),
        (["true", "x" * 200_000], 126, "larger than the system allows"),
        (["/tmp/no-interpreter", "word"], 3, "run by sh: word"),
    ],
)
async def test_exit_codes_and_what_cannot_be_executed(
    sandbox: Sandbox, command: list[str], code: int, said: str
) -> None:
    await output(sandbox, "printf 'echo run by sh: $1 >&2; exit 3' >/tmp/no-interpreter; chmod +x /tmp/no-interpreter")
    result = await private(sandbox, command)
    assert (result.exit_code, said in result.stderr.decode()) == (code, True), result


async def test_a_folder_that_is_not_there_and_a_user_that_is_not(sandbox: Sandbox) -> None:
    result = await private(sandbox, "true", cwd="/no/such")
    assert result.exit_code == 126
    assert "cannot start in '/no/such'" in result.stderr.decode()
    with pytest.raises(InfrastructureError, match="there is no user 'nobody-here'"):
        await private(sandbox, "true", user="nobody-here")
    await output(sandbox, "mv /etc/passwd /etc/kept; mkfifo /etc/passwd")
    result = await private(sandbox, ["/bin/sh", "-c", "echo $HOME; mv -f /etc/kept /etc/passwd"], timeout=20)
    assert result.stdout == b"/\n"


async def test_streams_of_any_size_come_and_go(sandbox: Sandbox) -> None:
    data = os.urandom(3 << 20)
    assert (await private(sandbox, "cat", stdin=data, max_output=4 << 20)).stdout == data
    copy = io.BytesIO()
    assert (await private(sandbox, "cat", stdin=io.BytesIO(data), stdout_to=copy)).stdout_total == len(data)
    assert copy.getvalue() == data
    assert (await private(sandbox, "head -c 1", stdin=b"x" * (1 << 20))).stdout == b"x"


async def test_the_limits_of_the_container_hold(sandbox: Sandbox) -> None:
    many = await private(sandbox, "for n in $(seq 150); do sleep 5 & done", timeout=60)
    assert b"fork: " in many.stderr, many
    large = await private(sandbox, "dd if=/dev/zero of=/dev/null bs=300M count=1", timeout=60)
    assert large.exit_code == 137, large
    # So much that it would end the container does not fit into its folders.
    filling = "for folder in /tests /logs/verifier; do dd if=/dev/zero of=$folder/file bs=1M count=100; done"
    full = await private(sandbox, filling)
    assert full.stderr.count(b"No space left on device") == 2, full
    assert (await private(sandbox, "echo on; ls -A /tests")).stdout == b"on\n"


# Its end


async def test_all_that_it_started_ends_with_it(sandbox: Sandbox, alive: Alive) -> None:
    left = marker()
    result = await private(sandbox, f"setsid sleep {left} & (setsid env -i sleep {left} &); sleep {left} & sleep 0.2")
    assert result.exit_code == 0
    assert not alive(left)


async def test_a_timeout_ends_the_whole_tree_and_nothing_else(sandbox: Sandbox, alive: Alive) -> None:
    other, seconds = marker(), marker()
    kept = asyncio.create_task(sandbox.exec(f"sleep {other}"))
    result = await private(sandbox, f"trap '' TERM INT; setsid sleep {seconds} & sleep {seconds}", timeout=0.5)
    assert (result.timed_out, result.exit_code) == (True, 124)
    assert not alive(seconds)
    assert await appeared(alive, other)
    kept.cancel()
    bomb = await private(sandbox, "b() { b | b & }; b; sleep 60", timeout=1)
    assert bomb.timed_out
    assert await output(sandbox, "echo on") == "on\n"


async def test_cancelling_ends_it(sandbox: Sandbox, alive: Alive) -> None:
    seconds = marker()
    running = asyncio.create_task(private(sandbox, f"sleep {seconds}"))
    assert await appeared(alive, seconds)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not alive(seconds)


async def test_it_can_be_killed_by_others_and_says_so(sandbox: Sandbox) -> None:
    running = asyncio.create_task(private(sandbox, "touch /tmp/begun; sleep 60"))
    await sandbox.exec("until [ -e /tmp/begun ]; do sleep 0.05; done; kill -9 -1")
    assert (await running).exit_code == 137
    assert (await private(sandbox, "echo on")).stdout == b"on\n"


# Others


@pytest.mark.parametrize(
    "options",
    [{"cap_add": ["SYS_PTRACE"]}, {"cap_add": ["SYS_ADMIN"]}, {"pid_mode": "host"}],
    ids=str,
)
async def test_it_is_not_claimed_where_others_could_look_in(options: dict[str, Any]) -> None:
    sandbox = docker_sandbox(SandboxSpec(), name="test", options=options)
    try:
        await sandbox.start()
        assert not sandbox.capabilities.private_folders
        with pytest.raises(Unsupported, match="cannot have folders of its own: containers "):
            await private(sandbox, "true")
    finally:
        await sandbox.close()


async def test_an_image_with_busybox_only_and_a_user_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {container_image()}\n"
        "RUN cd /bin && rm bash env tar setsid timeout printenv && ln -s busybox tar\nUSER user\nWORKDIR /tmp\n"
    )
    async with opened("docker", build_context=tmp_path) as sandbox:
        assert (sandbox.capabilities.private_folders, sandbox.capabilities.root, sandbox.shell) == (True, False, "sh")
        result = await private(sandbox, "id -un; pwd; echo 1 >/logs/verifier/reward && cat /logs/verifier/reward")
        assert result.stdout == b"user\n/tmp\n1\n", result
        await sandbox.end_processes()  # by a new start: its processes have other numbers
        assert (await private(sandbox, "id -un")).stdout == b"user\n"
        await sandbox.close()
        with pytest.raises(InfrastructureError, match="not open"):
            await private(sandbox, "true")


async def test_the_end_of_the_container_is_told_from_that_of_the_command(docker_engine: docker.APIClient) -> None:
    async with opened("docker") as sandbox:
        assert isinstance(sandbox, DockerSandbox)
        assert sandbox._life is not None
        running = asyncio.create_task(private(sandbox, "touch /tmp/begun; sleep 60"))
        await output(sandbox, "until [ -e /tmp/begun ]; do sleep 0.05; done")
        docker_engine.kill(sandbox._life.container)
        with pytest.raises(InfrastructureError, match="the sandbox has died"):
            await running
        with pytest.raises(InfrastructureError, match="the sandbox has died"):
            await private(sandbox, "true")


OWNER = """
import asyncio, sys
from pytest_hermes.sandbox.docker.sandbox import DockerSandbox
from pytest_hermes.task import SandboxSpec

async def main():
    sandbox = DockerSandbox(SandboxSpec(image=sys.argv[1]), name="owner")
    await sandbox.start()
    await sandbox.exec(f"setsid sleep {sys.argv[2]} & sleep {sys.argv[2]}", private=["/tests"])

asyncio.run(main())
"""


async def test_it_ends_when_its_owner_is_killed(docker_image: str, alive: Alive) -> None:
    seconds = marker()
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", OWNER, docker_image, seconds)
    try:
        for _ in range(10):
            if await appeared(alive, seconds, count=3):  # the owner, too, has it among its arguments
                break
    finally:
        owner.kill()
        await owner.wait()
    assert await vanished(alive, seconds)

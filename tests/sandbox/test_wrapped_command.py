"""The scripts around a command, by every shell that they are for, over nothing but two pipes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable

import pytest

from pytest_hermes.sandbox.output import HeadTail
from pytest_hermes.sandbox.wrapped_command import WrappedCommand
from tests.sandbox.test_contract import appeared, marker, vanished

asynchronous = pytest.mark.asyncio

Alive = Callable[[str], list[int]]

SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}


@pytest.fixture(params=SHELLS)
def interpreter(request: pytest.FixtureRequest) -> list[str]:
    interpreter = SHELLS[request.param]
    if shutil.which(interpreter[0]) is None:
        pytest.skip(f"there is no {interpreter[0]}")
    return interpreter


class Piped(WrappedCommand):
    """A backend that has pipes to a shell, and no other word of what runs there."""

    def __init__(self, interpreter: list[str], *, numbered: bool = True) -> None:
        self.stdout, self.stderr = HeadTail(1000), HeadTail(1000)
        super().__init__(self.stdout, self.stderr, numbered=numbered)
        self._interpreter = interpreter
        self._readers: list[asyncio.Task[None]] = []

    async def start(self, *argv: str, stdin: bytes = b"", cwd: str = "/") -> None:
        self._shell = shell = await asyncio.create_subprocess_exec(
            *self._interpreter,
            *self.wrapped(argv, cwd=cwd, stdin=str(len(stdin)) if stdin else "none")[1:],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert shell.stdin is not None
        # Not closed: the end of what is sent is not the end of the connection.
        shell.stdin.write(stdin)
        self._readers = [
            asyncio.create_task(self._read(pipe, marked.feed))
            for pipe, marked in zip((shell.stdout, shell.stderr), self.marked, strict=True)
        ]

    async def kill(self) -> None:
        killer = await asyncio.create_subprocess_exec(*self._interpreter, *self.killer()[1:])
        assert await killer.wait() == 0

    def close(self) -> None:
        """Go on: what comes after the end must not be taken for a part of it."""

    async def gone(self) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        await asyncio.gather(*self._readers)
        await self._shell.wait()

    async def _read(self, pipe: asyncio.StreamReader | None, feed: Callable[[bytes], None]) -> None:
        assert pipe is not None
        while data := await pipe.read(100):
            feed(data)


@asynchronous
async def test_its_streams_come_apart_and_its_exit_code_after_them(interpreter: list[str]) -> None:
    command = Piped(interpreter)
    await command.start("sh", "-c", "cat; echo no >&2; pwd; exit 7", stdin=b"yes\n", cwd="/usr")
    assert await asyncio.wait_for(command.exited, 30) == 7
    await command.gone()
    assert (command.stdout.value(), command.stderr.value()) == (b"yes\n/usr\n", b"no\n")


@asynchronous
async def test_what_cannot_start_is_told_apart(interpreter: list[str]) -> None:
    missing, nowhere = Piped(interpreter), Piped(interpreter)
    await missing.start("no-such-command")
    await nowhere.start("true", cwd="/no/such/folder")
    await asyncio.gather(missing.gone(), nowhere.gone())
    assert (await missing.exited, missing.stderr.value()) == (127, b"no-such-command: command not found\n")
    assert await nowhere.exited == 126
    assert b"cannot start in '/no/such/folder'" in nowhere.stderr.value()


@asynchronous
async def test_it_ends_with_its_leader_and_a_kill_reaches_what_left_its_session(
    interpreter: list[str], alive: Alive
) -> None:
    command, seconds = Piped(interpreter), marker()
    await command.start("sh", "-c", f"setsid env -i {shutil.which('sleep')} {seconds} & echo on")
    assert await asyncio.wait_for(command.exited, 30) == 0
    assert command.stdout.value() == b"on\n"
    assert await appeared(alive, seconds)
    await command.kill()
    assert not alive(seconds)
    await command.gone()


@asynchronous
async def test_where_there_are_no_numbers_its_process_group_is_killed(interpreter: list[str], alive: Alive) -> None:
    command, seconds = Piped(interpreter, numbered=False), marker()
    await command.start("sh", "-c", f"sleep {seconds} & sleep {seconds}")
    assert await appeared(alive, seconds, 2)
    await command.kill()
    await command.gone()
    assert await vanished(alive, seconds)

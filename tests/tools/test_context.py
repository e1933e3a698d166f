from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pytest_hermes.background import BackgroundLoop, default_loop
from pytest_hermes.errors import InfrastructureError, UsageError
from pytest_hermes.tools.bridge import bridged, install_bridge
from pytest_hermes.tools.by_task_id import tool_runner
from pytest_hermes.tools.context import ToolContext
from pytest_hermes.tools.registry import SANDBOX_VARIABLE, register, release, session_for
from pytest_hermes.tools.session import SandboxSession

from .conftest import ISOLATIONS, local_session


@pytest.fixture
def task_id() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def by_hand(task_id: str) -> Iterator[ToolContext]:
    context = ToolContext(task_id)
    yield context
    context.cleanup()


@pytest.fixture(params=ISOLATIONS)
def ctx(request: pytest.FixtureRequest) -> Iterator[ToolContext]:
    """A context as a sync test has it: its session lives on another thread's loop."""
    background = BackgroundLoop()
    session = local_session(request.param, loop=background.loop)
    yield ToolContext("test", session=session)
    background.run(session.close())
    assert background.close()


async def agent(session: SandboxSession, command: str) -> str:
    """Does something in the agent's own shell."""
    shell = await session.shell()
    return (await shell.run(command, timeout=20)).stdout.decode()


class TestTerminal:
    def test_gives_output_and_exit_code(self, ctx: ToolContext) -> None:
        assert ctx.terminal("echo out; echo err >&2; exit 3") == {"output": "out\nerr\n", "exit_code": 3, "error": None}

    def test_keeps_its_state(self, ctx: ToolContext) -> None:
        ctx.terminal("mkdir sub; cd sub")
        assert ctx.terminal('basename "$PWD"')["output"] == "sub\n"

    def test_a_timeout(self, ctx: ToolContext) -> None:
        answered = ctx.terminal("sleep 60", timeout=0.2)
        assert answered["exit_code"] == 124
        assert "0.2 s" in answered["error"]

    def test_an_infrastructure_error_is_raised(self, ctx: ToolContext) -> None:
        ctx.terminal("true")
        session = ctx._session()
        asyncio.run_coroutine_threadsafe(session.sandbox.close(), session.loop).result(20)
        with pytest.raises(InfrastructureError):
            ctx.terminal("true")

    def test_its_end_is_remembered_for_the_record(self, ctx: ToolContext) -> None:
        assert ctx.output_tail(100) == ""
        ctx.terminal("echo one")
        ctx.terminal("exit 3")
        assert ctx.output_tail(1000) == "$ echo one\none\n\n[exit code 0]\n$ exit 3\n\n[exit code 3]"
        assert ctx.output_tail(5) == "de 3]"
        assert ctx.output_tail(0) == ""

    def test_no_more_is_remembered_than_makes_sense(self, ctx: ToolContext) -> None:
        for _ in range(5):
            ctx.terminal("head -c 45000 /dev/zero | tr '\\0' x")
        assert 50_000 < len(ctx.output_tail(10**9)) < 150_000


class TestFiles:
    def test_round_trip(self, ctx: ToolContext) -> None:
        written = ctx.write_file("a b/file", "é\r\nno newline")
        assert written == {"path": "a b/file", "bytes_written": 14, "created": True, "error": None}
        assert ctx.read_file("a b/file") == {"content": "é\r\nno newline", "error": None}

    def test_bytes_may_be_written(self, ctx: ToolContext) -> None:
        ctx.write_file("file", b"\xff\x00")
        assert ctx.terminal("od -An -tx1 file")["output"].split() == ["ff", "00"]

    def test_a_file_is_read_as_a_whole(self, ctx: ToolContext) -> None:
        ctx.terminal("seq 200000 > file")
        assert ctx.read_file("file")["content"].count("\n") == 200_000

    @pytest.mark.parametrize(
        ("path", "problem"),
        [
            ("missing", "no such file"),
            (".", "is a directory"),
            ("pipe", "pipe"),
            ("zeros", "binary"),
            ("big", "more than"),
        ],
    )
    def test_what_cannot_be_read_has_no_content_and_an_error(self, ctx: ToolContext, path: str, problem: str) -> None:
        ctx.terminal("mkfifo pipe; head -c 9 /dev/zero > zeros; head -c 10000001 /dev/zero > big")
        answered = ctx.read_file(path)
        assert answered["content"] is None
        assert problem in answered["error"]

    def test_what_cannot_be_written_has_an_error(self, ctx: ToolContext) -> None:
        assert "is a directory" in ctx.write_file(".", "x")["error"]

    def test_search(self, ctx: ToolContext) -> None:
        ctx.write_file("sub/a.py", "def f():\n    pass\n")
        assert ctx.search("def [a-z]") == {
            "matches": [{"path": "sub/a.py", "line": 1, "text": "def f():"}],
            "more": False,
            "error": None,
        }
        assert ctx.search("(")["error"]
        assert ctx.search("x", path="missing")["matches"] == []


class TestTransfers:
    def test_a_file_there_and_back(self, ctx: ToolContext, tmp_path: Path) -> None:
        (tmp_path / "here").write_bytes(b"\xff\x00 bytes")
        ctx.terminal("mkdir sub; cd sub")
        assert ctx.upload_file(tmp_path / "here", "new/there") == {"success": True, "error": None}
        assert ctx.terminal("cd ..; wc -c < sub/new/there")["output"].strip() == "8"
        assert ctx.download_file("~/sub/new/there", str(tmp_path / "back")) == {"success": True, "error": None}
        assert (tmp_path / "back").read_bytes() == b"\xff\x00 bytes"

    def test_a_folder_there_and_back(self, ctx: ToolContext, tmp_path: Path) -> None:
        (tmp_path / "here" / "sub").mkdir(parents=True)
        (tmp_path / "here" / "sub" / "file").write_text("text")
        assert ctx.upload_dir(tmp_path / "here", "there")["success"]
        ctx.terminal("ln -s /etc/passwd there/link")
        answered = ctx.download_dir("there", tmp_path / "back")
        assert answered["success"]
        assert len(answered["left_out"]) == 1
        assert (tmp_path / "back" / "sub" / "file").read_text() == "text"
        assert sorted(path.name for path in (tmp_path / "back").iterdir()) == ["sub"]

    def test_what_the_agent_did_not_leave_is_a_result(self, ctx: ToolContext, tmp_path: Path) -> None:
        for answered in (ctx.download_file("missing", tmp_path / "x"), ctx.download_dir("missing", tmp_path / "y")):
            assert answered["success"] is False
            assert "missing" in answered["error"]
        assert not (tmp_path / "x").exists()

    def test_what_the_agent_left_in_the_way_is_a_result(self, ctx: ToolContext, tmp_path: Path) -> None:
        (tmp_path / "here").write_text("x")
        ctx.write_file("taken", "a file")
        answered = ctx.upload_file(tmp_path / "here", "taken/below")
        assert answered["success"] is False
        assert answered["error"]

    def test_a_missing_file_here_is_raised(self, ctx: ToolContext, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            ctx.upload_file(tmp_path / "missing", "there")
        with pytest.raises(FileNotFoundError):
            ctx.upload_dir(tmp_path / "missing", "there")


class TestCallTool:
    def test_any_tool(self, ctx: ToolContext) -> None:
        assert ctx.call_tool("write_file", {"path": "file", "content": "x\n"})["created"] is True
        assert ctx.call_tool("terminal", {"command": "cat file"})["output"] == "x\n"
        assert ctx.call_tool("process", {"action": "list"}) == {"processes": []}

    def test_mistakes_are_told(self, ctx: ToolContext) -> None:
        assert ctx.call_tool("terminl")["error"].startswith("unknown tool 'terminl'; did you mean 'terminal'?")
        assert "'command' is missing" in ctx.call_tool("terminal", {})["error"]

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [("web_search", ["x"]), ("web_extract", [["x"]]), ("browser_navigate", ["x"]), ("browser_snapshot", [])],
    )
    def test_what_is_not_there_yet_says_so(self, name: str, arguments: list[Any]) -> None:
        with pytest.raises(UsageError, match=rf"ctx\.{name}\(\) is not part of this version yet"):
            getattr(ToolContext("test"), name)(*arguments)


@pytest.mark.asyncio
class TestInRewards:
    @pytest_asyncio.fixture
    async def session(self) -> AsyncIterator[SandboxSession]:
        install_bridge(asyncio.get_running_loop())
        session = local_session()
        yield session
        await session.close()

    async def test_the_verifier_is_not_fooled_by_the_agents_shell(self, session: SandboxSession) -> None:
        await agent(
            session, "echo text > file; mkdir sub; cd sub; export PATH=/nowhere; cat() { echo fooled; }; set -e"
        )
        ctx = ToolContext("test", session=session)

        async def reward() -> list[Any]:
            return [ctx.terminal("cat file")["output"], ctx.read_file("file")["content"]]

        assert await bridged(reward()) == ["text\n", "text\n"]

    async def test_it_sees_the_agents_processes(self, session: SandboxSession) -> None:
        await agent(session, "(until [ -e go ]; do sleep 0.01; done; echo served > answer) & echo")
        ctx = ToolContext("test", session=session)

        async def reward() -> str:
            ctx.write_file("go", "")
            return str(ctx.terminal("until [ -s answer ]; do sleep 0.01; done; cat answer", timeout=20)["output"])

        assert await bridged(reward()) == "served\n"

    async def test_rewards_wait_at_the_same_time(self, session: SandboxSession) -> None:
        """Each command waits for a file that another reward writes: one after the other they would never end."""
        ctxs = [ToolContext("test", session=session) for _ in range(10)]

        async def reward(number: int) -> int:
            after = (number + 1) % len(ctxs)
            ctxs[number].write_file(f"begun-{number}", "")
            return int(
                ctxs[number].terminal(f"until [ -e begun-{after} ]; do sleep 0.01; done", timeout=30)["exit_code"]
            )

        assert await asyncio.gather(*(bridged(reward(number)) for number in range(10))) == [0] * 10

    async def test_children_of_gather_share_one_context(self, session: SandboxSession) -> None:
        ctx = ToolContext("test", session=session)

        async def check(word: str) -> str:
            return str(ctx.terminal(f"echo {word}")["output"])

        async def reward() -> list[str]:
            return await asyncio.gather(*(check(word) for word in ("a", "b", "c")))

        assert await bridged(reward()) == ["a\n", "b\n", "c\n"]

    async def test_a_timeout_kills_what_the_verifier_runs(self, session: SandboxSession) -> None:
        ctx = ToolContext("test", session=session)

        async def reward() -> None:
            ctx.terminal("touch begun; sleep 0.5; touch late")

        await session.start()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await bridged(reward())
        assert await agent(session, "sleep 0.7; ls") == "begun\n"

    async def test_without_a_bridge_the_fix_is_named(self, session: SandboxSession) -> None:
        ctx = ToolContext("test", session=session)
        with pytest.raises(RuntimeError, match=r"await bridged\(coroutine\)"):
            ctx.terminal("true")

    async def test_cleanup_leaves_the_sandbox_to_the_attempt(self, session: SandboxSession) -> None:
        ctx = ToolContext("test", session=session)

        async def reward() -> str:
            ctx.terminal("echo kept > file")
            ctx.cleanup()
            return str(ctx.read_file("file")["content"])

        assert await bridged(reward()) == "kept\n"

    async def test_a_closed_sandbox_is_said_to_be(self, session: SandboxSession) -> None:
        ctx = ToolContext("test", session=session)
        await session.close()

        async def reward() -> None:
            ctx.terminal("true")

        with pytest.raises(UsageError, match="closed"):
            await bridged(reward())


class TestByHand:
    def test_nothing_starts_before_it_is_used(self, task_id: str) -> None:
        context = ToolContext(task_id)
        context.cleanup()
        assert release(task_id) is None

    def test_a_sync_test_may_use_it(self, by_hand: ToolContext, task_id: str) -> None:
        by_hand.write_file("file", "x")
        assert by_hand.terminal("cat file")["output"] == "x"
        assert session_for(task_id).loop is default_loop().loop

    @pytest.mark.asyncio
    async def test_an_async_test_may_use_it(self, by_hand: ToolContext) -> None:
        assert by_hand.terminal("echo x")["output"] == "x\n"

    @pytest.mark.asyncio
    async def test_it_finds_the_sandbox_that_tools_with_its_id_used(self, by_hand: ToolContext, task_id: str) -> None:
        run = tool_runner(task_id, {"terminal"})
        outcome = await run("terminal", '{"command": "echo left > file; cd /; cat() { echo fooled; }"}')
        assert outcome.error is None
        assert by_hand.read_file("file")["content"] == "left\n"
        assert by_hand.terminal("cat file")["output"] == "left\n"

    @pytest.mark.asyncio
    async def test_only_valid_tools_run(self, by_hand: ToolContext, task_id: str) -> None:
        outcome = await tool_runner(task_id, {"terminal", "web_search"})("patch", "{}")
        assert outcome.error == "unknown tool 'patch'; known: terminal"

    def test_contexts_of_one_id_share_the_sandbox(self, by_hand: ToolContext, task_id: str) -> None:
        by_hand.write_file("file", "x")
        assert ToolContext(task_id).read_file("file")["content"] == "x"

    def test_cleanup_removes_everything_and_a_later_use_begins_anew(self, by_hand: ToolContext) -> None:
        by_hand.write_file("file", "x")
        folder = by_hand.terminal("pwd")["output"].strip()
        by_hand.cleanup()
        by_hand.cleanup()
        assert not os.path.exists(folder)
        assert by_hand.read_file("file")["content"] is None

    @pytest.mark.asyncio
    async def test_a_registered_session_is_found(self, task_id: str) -> None:
        session, other = local_session(), local_session()
        register(task_id, session)
        register(task_id, session)
        with pytest.raises(UsageError, match=task_id):
            register(task_id, other)
        assert session_for(task_id) is session
        await agent(session, "echo x > file")
        ctx = ToolContext(task_id)

        async def reward() -> str:
            content = str(ctx.read_file("file")["content"])
            ctx.cleanup()
            return content

        assert await bridged(reward()) == "x\n"
        assert session.closed
        assert release(task_id) is None
        await other.close()

    def test_the_backend_comes_from_the_environment(self, task_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(SANDBOX_VARIABLE, "locl")
        with pytest.raises(UsageError, match="unknown sandbox 'locl'; did you mean 'local'"):
            ToolContext(task_id).terminal("true")

    def test_what_was_forgotten_is_closed_at_exit(self) -> None:
        program = """
            from pytest_hermes.tools.context import ToolContext
            context = ToolContext("forgotten")
            context.call_tool("terminal", {"command": "sleep 1000", "background": True})
            print(context.terminal("pwd")["output"], end="")
        """
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(program)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.stderr, ran.returncode) == ("", 0)
        assert ran.stdout.startswith("/")
        assert not os.path.exists(ran.stdout.strip())

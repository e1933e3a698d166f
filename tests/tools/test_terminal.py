from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pytest_hermes.errors import InfrastructureError
from pytest_hermes.tools.dispatch import dispatch
from pytest_hermes.tools.session import SandboxSession
from pytest_hermes.tools.terminal import TOOLSET

from .conftest import local_session

pytestmark = pytest.mark.asyncio

UNTIL_BEGUN = "until [ -e begun ]; do sleep 0.01; done"


async def call(session: SandboxSession, tool: str, **arguments: Any) -> dict[str, Any]:
    """What the model gets to read for a call it wrote well."""
    outcome = await dispatch(TOOLSET.tools, tool, json.dumps(arguments), session)
    assert outcome.error is None, outcome.error
    assert json.loads(outcome.content) == outcome.result
    assert outcome.result is not None
    return outcome.result


class TestTerminal:
    async def test_output_of_both_streams_and_exit_code(self, session: SandboxSession) -> None:
        answer = await call(session, "terminal", command="echo out; echo err >&2; echo more; exit 3")
        assert answer == {"output": "out\nerr\nmore\n", "exit_code": 3, "error": None}

    async def test_state_is_kept(self, session: SandboxSession) -> None:
        await call(session, "terminal", command="mkdir 'a b'; cd 'a b'; export COLOUR=green; hello() { echo hi; }")
        answer = await call(session, "terminal", command='basename "$PWD"; echo $COLOUR; hello')
        assert answer["output"] == "a b\ngreen\nhi\n"

    async def test_a_command_out_of_time(self, session: SandboxSession) -> None:
        answer = await call(session, "terminal", command="echo begun; sleep 60; echo never", timeout=0.3)
        assert answer["output"] == "begun\n"
        assert answer["exit_code"] == 124
        assert answer["error"].startswith("the command was killed after 0.3 s;")

    async def test_the_session_has_a_timeout_of_its_own(self) -> None:
        session = local_session(terminal_timeout=0.2)
        answer = await call(session, "terminal", command="sleep 60")
        assert answer["exit_code"] == 124
        await session.close()

    async def test_a_command_that_returns_124_itself_is_not_out_of_time(self, plain_session: SandboxSession) -> None:
        assert await call(plain_session, "terminal", command="exit 124") == {
            "output": "",
            "exit_code": 124,
            "error": None,
        }

    async def test_long_output_keeps_head_and_tail(self, plain_session: SandboxSession) -> None:
        answer = await call(plain_session, "terminal", command="seq 100000; echo end")
        assert answer["output"].startswith("1\n2\n3\n")
        assert answer["output"].endswith("100000\nend\n")
        assert 50_000 <= len(answer["output"]) < 50_200
        assert answer["truncated"]["total_bytes"] == 588_895 + 4

    async def test_output_that_is_not_utf_8(self, plain_session: SandboxSession) -> None:
        answer = await call(plain_session, "terminal", command=r"printf 'a\377\303\251\n'")
        assert answer["output"] == "a\ufffdé\n"

    async def test_bad_arguments_never_start_a_sandbox(self) -> None:
        session = local_session()
        for arguments in ('{"command": ""}', '{"command": "a\\u0000b"}', '{"command": "a", "timeout": 0}', "{}"):
            outcome = await dispatch(TOOLSET.tools, "terminal", arguments, session)
            assert outcome.error is not None
        with pytest.raises(RuntimeError, match="not started yet"):
            _ = session.sandbox
        await session.close()

    async def test_a_sandbox_that_is_gone_is_not_the_commands_fault(self) -> None:
        session = local_session()
        await call(session, "terminal", command="true")
        await session.sandbox.close()
        with pytest.raises(InfrastructureError):
            await call(session, "terminal", command="true")
        await session.close()

    async def test_cancelling_kills_the_command(self, plain_session: SandboxSession) -> None:
        await call(plain_session, "terminal", command="true")
        task = asyncio.create_task(call(plain_session, "terminal", command="touch begun; sleep 0.3; touch late"))
        await call(plain_session, "terminal", command=UNTIL_BEGUN)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        answer = await call(plain_session, "terminal", command="sleep 0.4; ls")
        assert answer["output"] == "begun\n"


class TestBackground:
    async def start(self, session: SandboxSession, command: str) -> str:
        answer = await call(session, "terminal", command=command, background=True)
        assert answer["exit_code"] == 0
        assert isinstance(answer["session_id"], str)
        return answer["session_id"]

    async def test_it_starts_where_the_shell_is_and_runs_beside_it(self, session: SandboxSession) -> None:
        await call(session, "terminal", command="mkdir sub; cd sub; export COLOUR=green")
        started = await self.start(
            session, 'basename "$PWD"; echo $COLOUR; until [ -e go ]; do sleep 0.01; done; exit 3'
        )
        assert await call(session, "process", action="poll", session_id=started) == {
            "session_id": started,
            "status": "running",
            "exit_code": None,
        }
        await call(session, "terminal", command="touch go")
        assert await call(session, "process", action="wait", session_id=started, timeout=10) == {
            "session_id": started,
            "status": "exited",
            "exit_code": 3,
            "output": "sub\ngreen\n",
        }

    async def test_read_returns_what_is_new(self, plain_session: SandboxSession) -> None:
        started = await self.start(plain_session, "echo one; until [ -e go ]; do sleep 0.01; done; echo two >&2")
        seen = ""
        while seen != "one\n":
            seen += (await call(plain_session, "process", action="read", session_id=started))["output"]
            await asyncio.sleep(0.01)
        assert (await call(plain_session, "process", action="read", session_id=started))["output"] == ""
        await call(plain_session, "terminal", command="touch go")
        assert (await call(plain_session, "process", action="wait", session_id=started))["output"] == "two\n"

    async def test_waiting_ends_with_its_time(self, plain_session: SandboxSession) -> None:
        started = await self.start(plain_session, "sleep 60")
        answer = await call(plain_session, "process", action="wait", session_id=started, timeout=0.05)
        assert answer["status"] == "running"
        assert answer["error"] == "the command is still running after 0.05 s"

    async def test_kill_ends_it_and_its_children(self, session: SandboxSession) -> None:
        started = await self.start(session, "(sleep 0.5; touch late) & touch begun; wait")
        await call(session, "terminal", command=UNTIL_BEGUN)
        answer = await call(session, "process", action="kill", session_id=started)
        assert answer["status"] == "exited"
        assert answer["exit_code"] not in (None, 0)
        assert (await call(session, "terminal", command="sleep 0.7; ls"))["output"] == "begun\n"

    async def test_list_shows_all(self, plain_session: SandboxSession) -> None:
        first = await self.start(plain_session, "exit 4")
        second = await self.start(plain_session, "sleep 60")
        await call(plain_session, "process", action="wait", session_id=first, timeout=10)
        assert (await call(plain_session, "process", action="list"))["processes"] == [
            {"session_id": first, "status": "exited", "exit_code": 4, "command": "exit 4"},
            {"session_id": second, "status": "running", "exit_code": None, "command": "sleep 60"},
        ]

    async def test_a_session_that_is_missing_or_unknown(self, plain_session: SandboxSession) -> None:
        assert await call(plain_session, "process", action="poll") == {
            "error": "action 'poll' needs a session_id; known: none"
        }
        started = await self.start(plain_session, "true")
        assert await call(plain_session, "process", action="read", session_id="x") == {
            "error": f"there is no session_id 'x'; known: {started}"
        }

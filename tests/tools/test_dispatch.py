from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from pytest_hermes.background import BackgroundLoop
from pytest_hermes.errors import InfrastructureError
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.task import SandboxSpec
from pytest_hermes.tools.dispatch import ToolOutcome, dispatch
from pytest_hermes.tools.session import SandboxSession
from pytest_hermes.tools.tool import Tool, ToolArguments


class Greeting(ToolArguments):
    name: str = Field(description="Whom to greet.")
    times: int = Field(default=1, ge=1)
    loud: bool = False


class Nothing(ToolArguments):
    pass


async def greet(session: SandboxSession, arguments: Greeting) -> dict[str, Any]:
    return {"text": f"hello {arguments.name}" * arguments.times}


async def ping(session: SandboxSession, arguments: Nothing) -> dict[str, Any]:
    return {"pong": True}


async def explode(session: SandboxSession, arguments: Nothing) -> dict[str, Any]:
    raise LookupError("nothing there")


async def lose_the_sandbox(session: SandboxSession, arguments: Nothing) -> dict[str, Any]:
    raise InfrastructureError("gone", kind="sandbox")


async def hang(session: SandboxSession, arguments: Nothing) -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


async def talk_nonsense(session: SandboxSession, arguments: Nothing) -> dict[str, Any]:
    return {"value": object()}


def count_slowly(session: SandboxSession, arguments: Nothing) -> dict[str, Any]:
    time.sleep(0.05)
    return {"thread": threading.current_thread().name}


TOOLS = [
    Tool("greet", "Greets.", Greeting, greet),
    *(
        Tool(run.__name__, "For a test.", Nothing, run)
        for run in (ping, explode, lose_the_sandbox, hang, talk_nonsense)
    ),
]


def make_session(loop: asyncio.AbstractEventLoop | None = None) -> SandboxSession:
    return SandboxSession(lambda: LocalSandbox(SandboxSpec(), name="dispatch"), loop=loop)


async def call(name: str, arguments: str) -> ToolOutcome:
    return await dispatch(TOOLS, name, arguments, make_session())


def told(outcome: ToolOutcome) -> str:
    """The error of a call that was refused, which is also what the model gets to read."""
    assert outcome.result is None
    assert outcome.error is not None
    assert json.loads(outcome.content) == {"error": outcome.error}
    return outcome.error


@pytest.mark.asyncio
class TestGoodCalls:
    async def test_the_result_is_the_content_as_json(self) -> None:
        outcome = await call("greet", '{"name": "Zoë", "times": 2}')
        assert outcome == ToolOutcome('{"text": "hello Zoëhello Zoë"}', None, {"text": "hello Zoëhello Zoë"})

    @pytest.mark.parametrize("empty", ["", "  \n"])
    async def test_no_text_is_no_arguments_where_none_are_needed(self, empty: str) -> None:
        assert (await call("ping", empty)).result == {"pong": True}

    async def test_it_runs_on_the_home_loop_of_the_session(self) -> None:
        background = BackgroundLoop()
        session = make_session(background.loop)

        async def where(session: SandboxSession, arguments: Nothing) -> dict[str, Any]:
            return {"home": asyncio.get_running_loop() is session.loop}

        outcome = await dispatch([Tool("where", "", Nothing, where)], "where", "{}", session)
        assert outcome.result == {"home": True}
        assert background.close()


@pytest.mark.asyncio
class TestThisMachine:
    """What fails outside of the sandbox is nothing that a model could mend."""

    @staticmethod
    async def fail(error: OSError, *, builtin: bool) -> ToolOutcome:
        async def run(session: SandboxSession, arguments: Nothing) -> dict[str, Any]:
            raise error

        if builtin:
            run.__module__ = "pytest_hermes.tools.terminal"
        return await dispatch([Tool("run", "", Nothing, run)], "run", "{}", make_session())

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ENOENT, errno.EACCES])
    async def test_a_tool_of_this_package_ends_the_attempt(self, number: int) -> None:
        with pytest.raises(InfrastructureError, match="run cannot work on this machine: ") as raised:
            await self.fail(OSError(number, os.strerror(number)), builtin=True)
        assert raised.value.kind == "sandbox"

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM])
    async def test_so_does_any_tool_for_which_nothing_is_left(self, number: int) -> None:
        with pytest.raises(InfrastructureError):
            await self.fail(OSError(number, os.strerror(number)), builtin=False)

    async def test_what_a_users_own_tool_does_not_find_is_told_to_the_model(self) -> None:
        outcome = await self.fail(FileNotFoundError(errno.ENOENT, "No such file or directory"), builtin=False)
        assert told(outcome) == "run failed: FileNotFoundError: [Errno 2] No such file or directory"


@pytest.mark.asyncio
class TestBadCalls:
    async def test_an_unknown_tool(self) -> None:
        message = told(await call("great", "{}"))
        assert message.startswith("unknown tool 'great'; did you mean 'greet'? known: explode, greet, ")

    async def test_text_that_is_not_json_shows_where_it_breaks(self) -> None:
        message = told(await call("greet", '{"name": "a"\n "times": 2}'))
        assert message == (
            "the arguments of greet are not valid JSON: Expecting ',' delimiter at line 2 column 2, "
            'here: \'{"name": "a"\\n \' <<here>> \'"times": 2}\''
        )

    async def test_text_that_was_cut_off(self) -> None:
        message = told(await call("greet", '{"name": "a", '))
        assert message.endswith("<<end of the text>>")

    async def test_no_text_where_arguments_are_needed(self) -> None:
        assert "not valid JSON" in told(await call("greet", ""))

    @pytest.mark.parametrize("text", ["[]", '"name"', "null", "1"])
    async def test_json_that_is_no_object(self, text: str) -> None:
        message = told(await call("greet", text))
        assert message == f'the arguments of greet must be a JSON object such as {{"name": …}}, not {text}'

    @pytest.mark.parametrize("text", ['{"name": NaN}', "1" * 5000, "[" * 100_000])
    async def test_json_beyond_what_can_be_read(self, text: str) -> None:
        assert told(await call("greet", text)).startswith("the arguments of greet ")

    async def test_every_problem_has_a_line_that_names_the_field(self) -> None:
        message = told(await call("greet", '{"nmae": "a", "times": "3", "loud": 1}'))
        assert message.splitlines() == [
            "the arguments of greet are not valid:",
            "'name' is missing: Whom to greet.",
            "'times' should be a valid integer, not \"3\"",
            "'loud' should be a valid boolean, not 1",
            "unknown argument 'nmae'; did you mean 'name'? known: loud, name, times",
        ]

    async def test_a_value_out_of_range(self) -> None:
        message = told(await call("greet", '{"name": "a", "times": 0}'))
        assert message.endswith("'times' should be greater than or equal to 1, not 0")

    async def test_half_a_character(self) -> None:
        assert "half of a surrogate pair" in told(await call("greet", r'{"name": "\ud800"}'))

    async def test_a_tool_that_raises(self) -> None:
        assert told(await call("explode", "{}")) == "explode failed: LookupError: nothing there"

    async def test_a_tool_that_returns_what_is_not_json(self) -> None:
        assert told(await call("talk_nonsense", "{}")).startswith("talk_nonsense failed: TypeError")


@pytest.mark.asyncio
async def test_a_tool_that_is_not_async_runs_beside_the_loop() -> None:
    tools, session = [Tool("count", "Counts.", Nothing, count_slowly)], make_session()
    outcomes = await asyncio.gather(*(dispatch(tools, "count", "{}", session) for _ in range(3)))
    threads = {outcome.result["thread"] for outcome in outcomes if outcome.result}
    assert threading.current_thread().name not in threads
    assert len(threads) == 3


@pytest.mark.asyncio
class TestWhatIsNotTheModelsDoing:
    async def test_infrastructure_errors_are_raised(self) -> None:
        with pytest.raises(InfrastructureError, match="gone"):
            await call("lose_the_sandbox", "{}")

    async def test_cancellation_goes_through(self) -> None:
        task = asyncio.create_task(call("hang", "{}"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


names = st.text() | st.sampled_from(["greet", "ping"])
fields = st.dictionaries(st.text() | st.sampled_from(["name", "times", "loud"]), st.text() | st.integers() | st.none())
texts = st.text() | fields.map(json.dumps) | st.sampled_from(["{", "{}", '{"name": "x"}'])
surrogates = st.text(st.characters(categories=["Cs", "Ll"]))


@settings(max_examples=300)
@given(names | surrogates, texts | surrogates)
def test_whatever_a_model_writes_it_gets_an_answer_that_can_be_sent(name: str, arguments: str) -> None:
    outcome = asyncio.run(call(name, arguments))
    assert isinstance(json.loads(outcome.content), dict)
    outcome.content.encode()
    assert (outcome.error is None) == (outcome.result is not None)

"""A task's tests in real containers, after agents that want a reward they did not earn."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import pytest_asyncio

from pytest_hermes.dataset.archive import repack
from pytest_hermes.errors import InfrastructureError, Unsupported
from pytest_hermes.sandbox.protocol import Sandbox
from pytest_hermes.task import SandboxSpec
from pytest_hermes.tools.session import SandboxSession
from pytest_hermes.verdict import Verdict, VerifierMode
from pytest_hermes.verifier.tests_run import TaskTests
from pytest_hermes.verifier.verify import check_artifacts, verify
from tests.sandbox.backends import docker_sandbox, need
from tests.services.rows import archive

#: Passes when the work is there; a helper in the tests' folder and one on PATH have their say.
HONEST = """#!/bin/bash
echo "in $PWD as $EVIL:$GIVEN"
. /tests/expected.sh
checker && [ "$(cat answer 2>/dev/null)" = "$expected" ] && echo 1 >/logs/verifier/reward.txt \
    || echo 0 >/logs/verifier/reward.txt
"""


def brought(script: str, **more: Any) -> TaskTests:
    files = {"expected.sh": "expected=42\nchecker() { command -v pytest >/dev/null && pytest; return 0; }\n"}

    def write(target: BinaryIO) -> None:
        repack(archive(files), target, top="tests", files={"test.sh": script.encode()})

    interpreter = () if script.startswith("#!") else ("bash",)
    return TaskTests(write=write, interpreter=interpreter, env={"GIVEN": "g"}, **more)


class Agent:
    """Works in a container, and is scored."""

    def __init__(self, session: SandboxSession) -> None:
        self.session = session

    async def does(self, script: str, *, background: bool = False) -> None:
        shell = await self.session.shell()
        if background:
            await shell.spawn(script)
        else:
            result = await shell.run(script)
            assert result.exit_code == 0, result.stdout

    async def scored(
        self,
        script: str = HONEST,
        *,
        mode: VerifierMode = "same",
        acted: bool = True,
        timeout: float = 60,
        **more: bool,
    ) -> Verdict:
        return await verify(self.session, brought(script, **more), timeout=timeout, mode=mode, agent_acted=acted)


@asynccontextmanager
async def session_with(**more: Any) -> AsyncIterator[SandboxSession]:
    need("docker")
    spec = SandboxSpec(**{"workdir": "/app", **more})
    session = SandboxSession(functools.partial(docker_sandbox, spec, name="verify"))
    try:
        yield session
    finally:
        await session.close()


@pytest_asyncio.fixture
async def agent() -> AsyncIterator[Agent]:
    async with session_with() as session:
        yield Agent(session)


class TestVerdict:
    async def test_work_that_is_done_and_work_that_is_not(self, agent: Agent) -> None:
        nothing = await agent.scored(acted=False)
        assert (nothing.reward, nothing.source, nothing.exit_code) == (0.0, "reward.txt", 0)
        await agent.does("echo 42 > answer")
        modes: list[VerifierMode] = ["same", "both", "strict", "fresh"]
        for mode in modes:
            done = await agent.scored(mode=mode)
            assert (done.reward, done.source, done.mode) == (1.0, "reward.txt", mode)
            assert (done.tampered, done.disagreement) == (None, None)
            assert done.output == "in /app as :g\n"
            assert done.files["test-stdout.txt"] == b"in /app as :g\n"

    async def test_where_the_reward_stands_and_what_else_is_kept(self, agent: Agent) -> None:
        by_exit = await agent.scored("exit 0\n", exit_code_is_reward=True)
        assert (by_exit.reward, by_exit.source) == (1.0, "exit code")
        assert (await agent.scored("exit 5\n", exit_code_is_reward=True)).exit_code == 5
        none = await agent.scored("exit 0\n")
        assert (none.reward, none.error) == (None, "the tests left neither reward.json nor reward.txt")
        full = await agent.scored(
            'cd /logs/verifier; printf \'{"reward": 0.5, "speed": 2}\' > reward.json; echo 1 > reward.txt\n'
            "printf '{}' > ctrf.json; head -c 3000 /dev/zero; echo end >&2; exit 1\n"
        )
        assert (
            full.reward,
            full.source,
            dict(full.metrics),
            full.exit_code,
        ) == (0.5, "reward.json", {"speed": 2.0}, 1)
        assert full.files["ctrf.json"] == b"{}"
        assert full.files["test-stdout.txt"] == b"\0" * 3000 + b"end\n"
        # Nothing of it is left for the next one.
        left = await agent.scored("ls -A /logs/verifier; ls /tests; exit 1\n", exit_code_is_reward=True)
        assert left.output.split() == [".started", "expected.sh", "test.sh"]

    async def test_what_is_no_reward_is_an_error(self, agent: Agent) -> None:
        verdict = await agent.scored("echo maybe > /logs/verifier/reward.txt; echo done\n")
        assert verdict.reward is None
        assert verdict.error == "reward.txt holds 'maybe', which is not a finite number"
        assert verdict.output == "done\n"
        with pytest.raises(InfrastructureError, match="maybe"):
            float(verdict)


CHEATS = {
    "writes the reward beforehand": """
        mkdir -p /logs/verifier; echo 1 > /logs/verifier/reward.txt; echo '{"reward": 1}' > /logs/verifier/reward.json
    """,
    "makes the logs a link": """
        mkdir -p /logs /app/mine; echo 1 > /app/mine/reward.txt; ln -s /app/mine /logs/verifier
    """,
    "replaces the tests": r"""
        mkdir -p /tests; printf '#!/bin/sh\necho 1 > /logs/verifier/reward.txt\n' > /tests/test.sh
        chmod 555 /tests/test.sh /tests
    """,
    "makes the tests a link": "mkdir /elsewhere; ln -s /elsewhere /tests",
    "leaves things in its shell": r"""
        export PATH=/app/bin:$PATH EVIL=1 BASH_ENV=/app/evil ENV=/app/evil; mkdir bin
        printf '#!/bin/sh\necho 42 > /app/answer\n' > bin/pytest; cp bin/pytest evil; chmod +x bin/pytest
        cat() { echo 42; }; export -f cat; cp evil ~/.bashrc; cp evil ~/.profile
    """,
}

#: A loop that rewrites the reward, in three disguises.
LOOP = "while :; do mkdir -p /logs/verifier; echo 1 > /logs/verifier/reward.txt; sleep 0.01; done"
LOOPS = {
    "in the background": LOOP,
    "in a session of its own": f"setsid bash -c '{LOOP}' & sleep 1000",
    "starts itself again": "f() { mkdir -p /logs/verifier; echo 1 > /logs/verifier/reward.txt; sleep 0.01; (f &); }; f",
}


#: The shell of busybox has a tar of its own.
NO_TAR = "ln -sf bash /bin/sh; rm /bin/tar"

#: A tar whose archives have a pytest in them; what it writes is unpacked by root in the fresh sandbox.
FORGED_TAR = r"""
    mkdir -p x/usr/local/bin; cd x
    printf '#!/bin/sh\necho 42 > /app/answer\n' > usr/local/bin/pytest; chmod +x usr/local/bin/pytest
    tar -c -f /tmp/forged usr; ln -sf bash /bin/sh
    printf '#!/bin/sh\ncat /tmp/forged\n' > /bin/tar; chmod +x /bin/tar
"""


class TestCheating:
    @pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS)
    async def test_what_is_there_beforehand_counts_for_nothing(self, agent: Agent, cheat: str) -> None:
        await agent.does(cheat)
        verdict = await agent.scored()
        assert (verdict.reward, verdict.source) == (0.0, "reward.txt")
        assert verdict.output == "in /app as :g\n"

    @pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
    async def test_what_still_runs_is_ended(self, agent: Agent, loop: str) -> None:
        await agent.does(loop, background=True)
        slow = HONEST.replace("echo 0 >", "sleep 0.3; echo 0 >") + "\nls -d /proc/[0-9]*/exe | wc -l\n"
        verdict = await agent.scored(slow, mode="strict")
        assert verdict.reward == 0.0
        # Init, what holds the container, the command's own shells, and ls.
        assert int(verdict.output.split()[-1]) < 10

    async def test_only_a_fresh_sandbox_stands_against_programs_of_the_image_that_were_replaced(
        self, agent: Agent
    ) -> None:
        await agent.does(
            "printf '#!/bin/sh\\necho 42 > /app/answer\\n' > /usr/local/bin/pytest; chmod +x /usr/local/bin/pytest"
        )
        assert (await agent.scored()).reward == 1.0
        await agent.does("rm answer")
        assert (await agent.scored(mode="fresh")).reward == 0.0


class TestFresh:
    async def test_artifacts_are_as_the_agent_left_them(self) -> None:
        async with session_with() as session:
            agent = Agent(session)
            await agent.does("mkdir -p a/b /opt/out; echo 1 > 'a/b/with space'; ln -s b a/link; chmod 700 a/b/*")
            await agent.does("echo 2 > /opt/out/x; echo 3 > /opt/other; echo evil > /etc/evil")
            listing = "#!/bin/sh\nls -l a/b a/link | cut -c1-10; find . /opt /etc/evil 2>/dev/null\n"
            verdict = await verify(
                session,
                brought(listing, exit_code_is_reward=True),
                timeout=30,
                mode="fresh",
                artifacts=("a", "/opt/out"),
            )
            assert "-rwx------" in verdict.output
            found = set(verdict.output.splitlines())
            assert {"./a/b/with space", "/opt/out/x", "./a/link"} <= found
            assert not {"/opt/other", "/etc/evil"} & found

    async def test_what_the_agent_deleted_is_gone(self) -> None:
        async with session_with(workdir="/tmp") as session:
            agent = Agent(session)
            await agent.does("rm -rf /root; echo x > /tmp/.hidden")
            verdict = await verify(
                session,
                brought("ls -d /root /tmp/.hidden; exit 1\n", exit_code_is_reward=True),
                timeout=30,
                mode="fresh",
                artifacts=("/root", "/tmp"),
                agent_acted=True,
            )
            assert "/tmp/.hidden" in verdict.output.split()
            assert "/root" not in verdict.output.split()

    @pytest.mark.parametrize("deed", [FORGED_TAR, NO_TAR, "rm /bin/sh"], ids=["forged", "no tar", "no shell"])
    async def test_work_is_had_without_the_programs_of_the_agents_sandbox(self, agent: Agent, deed: str) -> None:
        await agent.does(f"echo 42 > answer; {deed}")
        verdict = await agent.scored(mode="fresh")
        assert (verdict.reward, verdict.source, verdict.tampered) == (1.0, "reward.txt", None)

    async def test_more_than_may_be_copied_is_a_zero(self, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pytest_hermes.verifier.artifacts.DEFAULT_MAX_BYTES", 1 << 20)
        await agent.does("truncate -s 1G large")
        verdict = await agent.scored(mode="fresh")
        assert verdict.reward == 0.0
        assert verdict.tampered is not None
        assert verdict.tampered.startswith("'/app' cannot be copied from the agent's sandbox: ")

    async def test_without_artifacts_the_working_directory_must_not_be_the_root(self) -> None:
        async with session_with(workdir="/") as session:
            sandbox = await session.start()
            with pytest.raises(Unsupported, match="declares no artifacts, and works in '/'"):
                check_artifacts(sandbox, ())
            check_artifacts(sandbox, ("/root",))


class TestUsers:
    @pytest.mark.parametrize("mode", ["same", "strict", "fresh"])
    async def test_the_tests_run_as_whom_the_image_names_and_the_rest_as_root(
        self, tmp_path: Path, docker_image: str, mode: VerifierMode
    ) -> None:
        made = f"RUN mkdir /work && chown user /work && ln -s /work /app # {mode}"
        (tmp_path / "Dockerfile").write_text(f"FROM {docker_image}\n{made}\nUSER user\nWORKDIR /app\n")
        async with session_with(image=None, build_context=tmp_path, workdir=None) as session:
            agent = Agent(session)
            await agent.does("echo 42 > answer; chmod 600 answer")
            await agent.does("sleep 1000", background=True)
            verdict = await agent.scored(
                f"{HONEST}stat -c '%U %a' answer; id -un; ls -ld /tests | cut -c1-10\n", mode=mode
            )
        assert verdict.reward == 1.0
        assert verdict.output.split() == ["in", "/app", "as", ":g", "user", "600", "user", "drwxr-xr-x"]


class TestNoResult:
    """Whose doing it is that the tests come to no result."""

    @pytest.mark.parametrize(
        ("script", "problem"),
        [
            ("#!/no/such/interpreter\n", r"test.sh cannot start \(.*(not found|No such file).*\)"),
            ("sleep 30\n", "the tests ran out of time"),
            ("kill -9 $$\n", "test.sh was ended by signal 9"),
        ],
        ids=["start", "time", "killed"],
    )
    async def test_what_happens_in_an_untouched_sandbox_too_is_an_error(
        self, agent: Agent, script: str, problem: str
    ) -> None:
        await agent.does("echo 42 > answer")
        verdict = await agent.scored(f"{script}echo unreached\n", timeout=1)
        assert verdict.reward is None
        assert verdict.error is not None
        with pytest.raises(InfrastructureError, match=f"^{problem}"):
            float(verdict)

    async def test_want_of_memory_is_an_error(self) -> None:
        async with session_with(memory="64m") as session:
            script = "head -c 300m /dev/zero | tail | wc -c; echo 0 > /logs/verifier/reward.txt\n"
            verdict = await Agent(session).scored(script, acted=False)
            assert verdict.error == "the tests were killed: out of memory"

    async def test_tests_that_did_not_run_are_no_zero(self, agent: Agent) -> None:
        script = "uvx --ctrf /logs/verifier/ctrf.json; echo 0 > /logs/verifier/reward.txt\n"
        verdict = await agent.scored(script, writes_report=True, acted=False)
        assert verdict.error is not None
        assert verdict.error.startswith("the tests did not run (")
        assert "uvx: command not found" in verdict.error
        # Other runners may leave none, and have run.
        ran = await agent.scored("echo '1 wrong'; echo 0 > /logs/verifier/reward.txt\n", writes_report=True)
        assert ran.reward == 0.0
        assert (await agent.scored(f"{script}echo {{}} > /logs/verifier/ctrf.json\n", writes_report=True)).reward == 0.0

    @pytest.mark.parametrize(
        ("deed", "script", "problem"),
        [
            ("echo 'sleep 100' > answer", "[ ! -f answer ] || . ./answer\n", "the tests ran out of time"),
            ("rm /bin/env", "#!/bin/env bash\n", "test.sh cannot start ("),
            (NO_TAR, "", "the tests cannot be written to /tests: "),
            ("rm /bin/sh", "", "the verifier cannot run in this sandbox: /bin/sh"),
            ("echo nan > answer", "cat answer > /logs/verifier/reward.txt && exit\n", "reward.txt holds 'nan'"),
        ],
        ids=["hangs", "breaks", "no tar", "no shell", "no number"],
    )
    async def test_what_the_agent_brought_about_is_a_zero(
        self, agent: Agent, deed: str, script: str, problem: str
    ) -> None:
        await agent.does(deed)
        verdict = await agent.scored(f"{script}echo 0 > /logs/verifier/reward.txt\n", timeout=1)
        assert (verdict.reward, verdict.source) == (0.0, "untouched sandbox")
        assert verdict.tampered is not None
        assert verdict.tampered.startswith(problem)
        assert verdict.tampered.endswith("; in an untouched sandbox the tests come to a verdict")

    async def test_tests_that_could_not_be_fetched_once_run_again(self, agent: Agent) -> None:
        await agent.does("echo 42 > answer")
        script = """
            if [ -e answer ] && [ ! -e /tried ]; then
                touch /tried; echo "curl: (6) Could not resolve host"; echo 0 > /logs/verifier/reward.txt; exit
            fi
            echo '{}' > /logs/verifier/ctrf.json; [ -e answer ]; echo $((1 - $?)) > /logs/verifier/reward.txt
        """
        verdict = await agent.scored(script, writes_report=True)
        assert (verdict.reward, verdict.source) == (1.0, "reward.txt")

    async def test_a_sandbox_that_is_gone_is_an_error(self, agent: Agent) -> None:
        sandbox: Sandbox = await agent.session.start()
        await sandbox.close()
        with pytest.raises(InfrastructureError):
            await agent.scored()


def test_a_verdict_without_error_is_its_reward() -> None:
    verdict = Verdict(reward=0.5)
    assert float(verdict) == 0.5
    assert float(replace(verdict, reward=1.0)) == 1.0

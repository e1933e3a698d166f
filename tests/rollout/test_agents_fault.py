"""Agents that break their own sandbox in front of a benchmark that does not expect it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_hermes import Benchmark, SandboxSpec, Task
from pytest_hermes.background import BackgroundLoop
from pytest_hermes.config.fields import EnvConfig
from pytest_hermes.models import completion
from pytest_hermes.models.builtin import NopSource
from pytest_hermes.result import AgentResult
from pytest_hermes.rollout.agent import Agent, AgentModel, AgentTask, AgentTools, NoWork
from pytest_hermes.rollout.engine import Engine
from pytest_hermes.rollout.limits import AttemptLimits
from pytest_hermes.rollout.plan import AttemptPlan, PlannedTask
from pytest_hermes.rollout.record import AttemptRecord
from pytest_hermes.tools.session import SandboxSession
from pytest_hermes.tools.toolsets import resolve_toolsets

pytestmark = pytest.mark.usefixtures("docker_image")

NO_SHELL = "the sandbox's shell, /bin/sh, cannot be run any more"


class Scripted(NopSource):
    """Runs commands, one a turn."""

    def __init__(self, *commands: str) -> None:
        self._commands = commands

    def for_task(self, task: Task) -> Any:
        return self

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Any:
        turn = sum(message["role"] == "assistant" for message in messages)
        if turn == len(self._commands):
            return completion.text("Done.")
        return completion.call(f"call_{turn}", "terminal", {"command": self._commands[turn]})


class LooksInto(Benchmark):
    """Looks into the sandbox by itself."""

    name = "looks"
    reward_range = (-1.0, 1.0)

    def __init__(self, spec: SandboxSpec | None = None) -> None:
        self._spec = spec or SandboxSpec()

    def tasks(self) -> list[Task]:
        return [Task(id="t", prompt="p", sandbox=self._spec)]

    async def compute_reward(self, item: Any, result: Any, ctx: Any) -> float:
        return float(ctx.terminal("cat work")["exit_code"] == 0)


class Breaks(LooksInto):
    """Breaks the sandbox before any agent works in it."""

    async def prepare(self, item: Any, ctx: Any) -> None:
        ctx.terminal("rm -f /bin/sh")


class Uploads(LooksInto):
    """Needs a program in the image."""

    async def compute_reward(self, item: Any, result: Any, ctx: Any) -> float:
        ctx.upload_file(__file__, "/tests/x")
        return 1.0


class Unaware(NoWork):
    """An agent of another package, which has not heard of broken sandboxes."""

    async def run(
        self, task: AgentTask, session: SandboxSession, model: AgentModel, tools: AgentTools, limits: AttemptLimits
    ) -> AgentResult:
        model.work = self
        for command in ("echo x >work; rm -f /bin/sh", "true"):
            self.result.messages.append({"role": "assistant", "tool_calls": [{}]})
            await tools.call("terminal", json.dumps({"command": command}))
        return self.result


def record_of(benchmark: LooksInto, docker_image: str, *commands: str, agent: Agent | None = None) -> AttemptRecord:
    """Return the record of an attempt whose agent runs these commands."""
    loop = BackgroundLoop("fault")
    engine = Engine(limit=1, run_id="r", results=None, on_record=lambda record: None, loop=loop)
    env = EnvConfig.model_validate({"terminal_backend": "docker", "terminal_image": docker_image})
    (task,) = benchmark.tasks()
    planned = PlannedTask(benchmark, task, task)
    tools = tuple(resolve_toolsets(["terminal"]))
    plan = AttemptPlan(planned, 1, Scripted(*commands), env, tools, agent=agent)
    try:
        return engine.submit(plan, "t").future.result(60).record
    finally:
        engine.stop()
        loop.close()


def test_an_agent_that_breaks_its_sandbox_has_failed(docker_image: str) -> None:
    record = record_of(LooksInto(), docker_image, "echo x >work; rm -f /bin/sh", "true", "true")
    assert (record.status, record.reward, record.reason) == ("failed", -1.0, NO_SHELL)
    assert (record.stop_reason, record.error) == ("sandbox_broken", None)


def test_so_has_an_agent_of_another_kind(docker_image: str) -> None:
    record = record_of(LooksInto(), docker_image, agent=Unaware())
    assert (record.status, record.reward, record.reason) == ("failed", -1.0, NO_SHELL)
    assert record.stop_reason == "sandbox_broken"


def test_an_agent_that_ends_its_container_has_failed(docker_image: str) -> None:
    record = record_of(LooksInto(), docker_image, "echo x >work; echo x >/proc/1/fd/0; sleep 60", "true")
    assert (record.status, record.stop_reason) == ("failed", "sandbox_broken")
    assert record.reason == "the sandbox has died: its container was ended by what ran in it"


def test_a_sandbox_that_was_broken_before_an_agent_came_is_an_error(docker_image: str) -> None:
    record = record_of(Breaks(), docker_image)
    assert record.error is not None
    assert (record.status, record.error.kind, record.error.message) == ("error", "sandbox", NO_SHELL)


def test_what_an_image_never_had_is_an_error(docker_image: str, tmp_path: Path) -> None:
    # The shell's own, where it is busybox, is no file.
    (tmp_path / "Dockerfile").write_text(f"FROM {docker_image}\nRUN ln -sf bash /bin/sh && rm /bin/tar\n")
    record = record_of(Uploads(SandboxSpec(build_context=tmp_path)), docker_image, "true")
    assert record.error is not None
    assert (record.status, record.error.kind) == ("error", "sandbox")
    assert "cannot be written to" in record.error.message

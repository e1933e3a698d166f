"""Who works on a task: an agent, and what an attempt gives it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..config.fields import EnvConfig
from ..models.protocol import Model
from ..result import AgentResult, Usage
from ..tools.dispatch import ToolOutcome
from ..tools.session import SandboxSession
from ..tools.tool import Tool
from .budget import Budget
from .limits import AttemptLimits
from .loop import HermesAgentLoop


@dataclass(frozen=True)
class AgentTask:
    """What an agent is asked."""

    id: str
    #: The user message: a text, or a list of OpenAI content parts.
    prompt: str | list[Any]
    system_prompt: str | None = None

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation to begin with."""
        system = [{"role": "system", "content": self.system_prompt}] if self.system_prompt else []
        return [*system, {"role": "user", "content": self.prompt}]


class AgentWork(Protocol):
    """What an agent has done so far; complete once it has returned, and what was paid for when it raises."""

    @property
    def result(self) -> AgentResult: ...

    @property
    def model_seconds(self) -> float:
        """Seconds spent waiting for the model, without what its endpoint's faults cost."""

    @property
    def tool_seconds(self) -> float:
        """Seconds spent waiting for tools."""

    @property
    def backoff(self) -> float:
        """Seconds lost to an endpoint's faults."""

    @property
    def retries(self) -> int:
        """Requests that were made again after such faults."""


@dataclass
class NoWork:
    """Of an agent that has not begun."""

    result: AgentResult = field(default_factory=AgentResult)
    model_seconds: float = 0.0
    tool_seconds: float = 0.0
    backoff: float = 0.0
    retries: int = 0


@dataclass
class AgentModel:
    """Who answers one attempt, how it is sampled, and who pays."""

    model: Model
    temperature: float | None = None
    #: Tokens of one answer at most.
    max_tokens: int | None = None
    #: Further parameters of every request.
    extra_body: dict[str, Any] | None = None
    #: What all attempts together may spend.
    budget: Budget = field(default_factory=Budget)
    #: Adds costs that answers do not tell.
    priced: Callable[[Usage], Usage] | None = None
    #: Set by an agent when it begins: what is known of an attempt that is ended from outside.
    work: AgentWork = field(default_factory=NoWork)

    @classmethod
    def configured(cls, model: Model, config: EnvConfig, **more: Any) -> AgentModel:
        """Return the model as a configuration samples it."""
        return cls(model, config.agent_temperature, config.max_token_length, config.extra_body, **more)


@dataclass(frozen=True)
class AgentTools:
    """What an agent may call. `call` takes a name and the arguments as JSON, and runs the tool in the session."""

    tools: Sequence[Tool]
    call: Callable[[str, str], Awaitable[ToolOutcome]]

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """OpenAI function schemas."""
        return [tool.schema for tool in self.tools]

    @property
    def names(self) -> set[str]:
        return {tool.name for tool in self.tools}


class Agent(Protocol):
    """Works on a task in a session: a sandbox that is started at first use, with a shell in it."""

    async def run(
        self, task: AgentTask, session: SandboxSession, model: AgentModel, tools: AgentTools, limits: AttemptLimits
    ) -> AgentResult:
        """Work until the agent is done or a limit is reached, and return what it left.

        Raises InfrastructureError when the endpoint or the sandbox fails, BudgetSpent when `model.budget` is used up;
        `model.work` then holds what came before.
        """


class BuiltinAgent:
    """The agent that is this package's own: `HermesAgentLoop`."""

    async def run(
        self, task: AgentTask, session: SandboxSession, model: AgentModel, tools: AgentTools, limits: AttemptLimits
    ) -> AgentResult:
        """Ask the model, run the tools it calls, until it calls none or may not go on."""
        loop = HermesAgentLoop(
            model.model,
            tools.schemas,
            tools.names,
            max_turns=limits.turns,
            task_id=task.id,
            temperature=model.temperature,
            max_tokens=model.max_tokens,
            extra_body=model.extra_body,
            seconds=limits.agent_seconds,
            token_budget=limits.tokens,
            cost_budget=limits.cost,
            budget=model.budget,
            priced=model.priced,
            run_tool=tools.call,
        )
        model.work = loop
        return await loop.run(task.messages)

"""pytest-hermes: measures LLM agents on real benchmarks.

The names below are the public ones; each is imported when it is first used, so that `pytest` without
`--hermes-bench` does not pay for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .benchmark import Benchmark as Benchmark
    from .errors import HermesError as HermesError
    from .errors import InfrastructureError as InfrastructureError
    from .errors import Unsupported as Unsupported
    from .errors import UsageError as UsageError
    from .result import AgentResult as AgentResult
    from .result import ToolError as ToolError
    from .result import Usage as Usage
    from .rollout.loop import HermesAgentLoop as HermesAgentLoop
    from .task import Limits as Limits
    from .task import SandboxSpec as SandboxSpec
    from .task import Solution as Solution
    from .task import Task as Task
    from .tools.context import ToolContext as ToolContext
    from .verdict import Verdict as Verdict

_HOME = {
    "AgentResult": "result",
    "Benchmark": "benchmark",
    "HermesAgentLoop": "rollout.loop",
    "HermesError": "errors",
    "InfrastructureError": "errors",
    "Limits": "task",
    "SandboxSpec": "task",
    "Solution": "task",
    "Task": "task",
    "ToolContext": "tools.context",
    "ToolError": "result",
    "Unsupported": "errors",
    "Usage": "result",
    "UsageError": "errors",
    "Verdict": "verdict",
}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

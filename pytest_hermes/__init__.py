"""pytest-hermes: measures LLM agents on real benchmarks.

The names below are the public ones; each is imported when it is first used, so that `pytest` without
`--hermes-bench` does not pay for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy_names import lazy_names

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

_HOMES = {
    "AgentResult": ".result",
    "Benchmark": ".benchmark",
    "HermesAgentLoop": ".rollout.loop",
    "HermesError": ".errors",
    "InfrastructureError": ".errors",
    "Limits": ".task",
    "SandboxSpec": ".task",
    "Solution": ".task",
    "Task": ".task",
    "ToolContext": ".tools.context",
    "ToolError": ".result",
    "Unsupported": ".errors",
    "Usage": ".result",
    "UsageError": ".errors",
    "Verdict": ".verdict",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

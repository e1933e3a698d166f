"""pytest-hermes: measures LLM agents on real benchmarks.

The names below are the public ones; each is imported when it is first used, so that `pytest` without
`--hermes-bench` does not pay for them.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from .core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .benchmark import Benchmark as Benchmark
    from .config.fields import EnvConfig as EnvConfig
    from .errors import HermesError as HermesError
    from .errors import InfrastructureError as InfrastructureError
    from .errors import Unsupported as Unsupported
    from .errors import UsageError as UsageError
    from .result import AgentResult as AgentResult
    from .result import ToolError as ToolError
    from .result import Usage as Usage
    from .rollout.attempt import Rollout as Rollout
    from .rollout.loop import HermesAgentLoop as HermesAgentLoop
    from .rollout.record import AttemptRecord as AttemptRecord
    from .runs.results_file import read_results as read_results
    from .sandbox.protocol import ExecResult as ExecResult
    from .sandbox.protocol import Sandbox as Sandbox
    from .sandbox.registry import register_sandbox as register_sandbox
    from .task import Limits as Limits
    from .task import SandboxSpec as SandboxSpec
    from .task import Solution as Solution
    from .task import Task as Task
    from .task import VerifierSpec as VerifierSpec
    from .tools.context import ToolContext as ToolContext
    from .tools.tool import Tool as Tool
    from .tools.tool import ToolArguments as ToolArguments
    from .tools.tool import ToolProblem as ToolProblem
    from .tools.tool import Toolset as Toolset
    from .tools.toolsets import register_toolset as register_toolset
    from .verdict import Verdict as Verdict

__version__ = version("pytest-hermes")

_HOMES = {
    "AgentResult": ".result",
    "AttemptRecord": ".rollout.record",
    "Benchmark": ".benchmark",
    "EnvConfig": ".config.fields",
    "ExecResult": ".sandbox.protocol",
    "HermesAgentLoop": ".rollout.loop",
    "HermesError": ".errors",
    "InfrastructureError": ".errors",
    "Limits": ".task",
    "Rollout": ".rollout.attempt",
    "Sandbox": ".sandbox.protocol",
    "SandboxSpec": ".task",
    "Solution": ".task",
    "Task": ".task",
    "Tool": ".tools.tool",
    "ToolArguments": ".tools.tool",
    "ToolContext": ".tools.context",
    "ToolError": ".result",
    "ToolProblem": ".tools.tool",
    "Toolset": ".tools.tool",
    "Unsupported": ".errors",
    "Usage": ".result",
    "UsageError": ".errors",
    "Verdict": ".verdict",
    "VerifierSpec": ".task",
    "read_results": ".runs.results_file",
    "register_sandbox": ".sandbox.registry",
    "register_toolset": ".tools.toolsets",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

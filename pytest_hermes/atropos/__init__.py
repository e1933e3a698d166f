"""The RL door: environments for Atropos that run the same rollouts as the pytest door.

This package alone imports `atroposlib` (`pip install 'pytest-hermes[atropos]'`), and each name below does so only when
it is first used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..tools.registry import cleanup_all_environments as cleanup_all_environments
    from .base_env import HermesAgentBaseEnv as HermesAgentBaseEnv
    from .benchmark_env import BenchmarkEnv as BenchmarkEnv
    from .benchmark_env import HermesSweEnv as HermesSweEnv
    from .benchmark_env import TBLiteEvalEnv as TBLiteEvalEnv
    from .benchmark_env import TerminalBench2EvalEnv as TerminalBench2EvalEnv
    from .benchmark_env import TerminalTestEnv as TerminalTestEnv
    from .env_config import HermesAgentEnvConfig as HermesAgentEnvConfig

# transformers says at each start that there is no PyTorch, which nothing here needs.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

_HOME = {
    "BenchmarkEnv": ".benchmark_env",
    "HermesAgentBaseEnv": ".base_env",
    "HermesAgentEnvConfig": ".env_config",
    "HermesSweEnv": ".benchmark_env",
    "TBLiteEvalEnv": ".benchmark_env",
    "TerminalBench2EvalEnv": ".benchmark_env",
    "TerminalTestEnv": ".benchmark_env",
    "cleanup_all_environments": "..tools.registry",
}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    try:
        return getattr(import_module(home, __name__), name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "atroposlib":
            raise
        raise ImportError(f"{name} needs atroposlib: pip install 'pytest-hermes[atropos]'", name="atroposlib") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

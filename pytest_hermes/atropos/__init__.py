"""The RL door: environments for Atropos that run the same rollouts as the pytest door.

This package alone imports `atroposlib` (`pip install 'pytest-hermes[atropos]'`), and each name below does so only when
it is first used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

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

_HOMES = {
    "BenchmarkEnv": ".benchmark_env",
    "HermesAgentBaseEnv": ".base_env",
    "HermesAgentEnvConfig": ".env_config",
    "HermesSweEnv": ".benchmark_env",
    "TBLiteEvalEnv": ".benchmark_env",
    "TerminalBench2EvalEnv": ".benchmark_env",
    "TerminalTestEnv": ".benchmark_env",
    "cleanup_all_environments": "..tools.registry",
}

_look_up, __dir__, __all__ = lazy_names(__name__, _HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    try:
        return _look_up(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "atroposlib":
            raise
        raise ImportError(f"{name} needs atroposlib: pip install 'pytest-hermes[atropos]'", name="atroposlib") from None

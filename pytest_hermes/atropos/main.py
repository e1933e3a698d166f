"""`hermes-env NAME serve|process|evaluate`: a benchmark, or an environment in a file, run as an environment."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..models.trust import check_key_log
from ..runs.catalog import installed_benchmarks, load_class

_USAGE = """\
usage: hermes-env NAME serve|process|evaluate [--config FILE] [--env.FIELD VALUE …] [--openai.FIELD VALUE …]

Runs a benchmark as an Atropos environment: serve trains, process makes data, evaluate measures.

NAME is an installed benchmark ({names}),
or path/to/my_env.py:MyEnv, your own environment or benchmark.

  hermes-env terminal_test process --env.data_path_to_save_groups out.jsonl
  hermes-env terminal_test evaluate --openai.base_url http://localhost:8000/v1 --openai.model_name my-model
  hermes-env NAME process --help      lists every field
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; see `command_line.main` for what it means."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_USAGE.format(names=", ".join(installed_benchmarks()) or "none"))
        return 0 if given else 2
    try:
        check_key_log(os.environ)  # atroposlib's own client looks at it while it is imported
        cls = _environment(given[0])
        from .command_line import main as run
    except UsageError as error:
        print(f"hermes-env: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "atroposlib":
            raise
        print("hermes-env needs atroposlib: pip install 'pytest-hermes[atropos]'", file=sys.stderr)
        return 2
    return run(cls, given[1:], f"hermes-env {given[0]}")


def _environment(name: str) -> Any:
    """Return the environment's class. Raises UsageError when there is none of that name."""
    if name.startswith("-"):
        raise UsageError(f"the name of an environment comes first, not {name!r}; see hermes-env --help")
    from .base_env import HermesAgentBaseEnv
    from .benchmark_env import NAMED, BenchmarkEnv

    if name in HermesAgentBaseEnv.modes:
        raise UsageError(f"the name of an environment comes first: hermes-env NAME {name}")
    if name in NAMED:
        return NAMED[name]
    cls = load_class(name, Path.cwd())
    if isinstance(cls, type) and issubclass(cls, HermesAgentBaseEnv):
        return cls
    return BenchmarkEnv.of(name)

"""`-n N`: with a benchmark it means N rollouts in flight in this process, not N xdist workers.

`--hermes-procs M` spreads them over M workers, for work that keeps a core busy.

A rollout mostly waits, for a model and for a sandbox. One process with one event loop keeps 32 of them in flight
in 30 MB; 32 workers take a gigabyte and half a minute to start.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import pytest

_N = re.compile(r"-n.*|--numprocesses(=.*)?")


def auto_in_flight() -> int:
    """Return what `-n auto` means: four rollouts a core."""
    return 4 * (os.cpu_count() or 1)


def in_flight_from_n(config: pytest.Config) -> int | None:
    """Return what `-n` asks for, None when it was not given. `-n 0` runs one rollout at a time."""
    n = getattr(config.option, "numprocesses", None)
    if n is None:
        return None
    return auto_in_flight() if isinstance(n, str) else max(int(n), 1)


def check_processes(processes: int, in_flight: int, config: pytest.Config) -> None:
    """Raise pytest.UsageError when `--hermes-procs` cannot be had."""
    if processes > 1 and not config.pluginmanager.hasplugin("xdist"):
        raise pytest.UsageError("--hermes-procs needs pytest-xdist, which is not active")
    if processes > in_flight:
        raise pytest.UsageError(
            f"--hermes-procs={processes} is more than the {in_flight} rollouts in flight; also raise -n"
        )


def set_processes(config: pytest.Config, processes: int) -> None:
    """Tell xdist, before it looks, how many workers to start: none for one process."""
    if processes > 1:
        config.option.numprocesses = processes
        if config.option.dist == "no":
            config.option.dist = "worksteal"
    elif getattr(config.option, "numprocesses", None) is not None:
        config.option.numprocesses = 0


def check_n_is_known(args: Sequence[str], pluginmanager: pytest.PytestPluginManager) -> None:
    """Raise pytest.UsageError when `-n` is used without xdist, which would only say "unrecognized arguments"."""
    if pluginmanager.hasplugin("xdist"):
        return
    given = next((arg for arg in args if _N.fullmatch(arg)), None)
    if given is not None:
        raise pytest.UsageError(
            f"{given} is an option of pytest-xdist, which is not active; "
            "use --hermes-concurrency=N for N rollouts in flight"
        )

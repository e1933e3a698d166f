"""Puts a run of benchmarks into a session: which parts, depends on what the process is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .bench_run import BenchRun
from .distributed_run import ControllerRun, WorkerRun
from .halts import halts_of
from .items import RUN, BenchmarkCollection
from .node_ids import Selection
from .options import Options
from .reporting import BenchReport
from .rollouts import LOOP, Rollouts
from .run_limits import RunLimits
from .run_loop import RunLoop
from .shared_folder import share_folder, shared_folder
from .slow_start import announced
from .xdist_controller import Controller
from .xdist_worker import WorkerRollouts


def start_run(config: pytest.Config, options: Options, selections: list[Selection], in_flight: int) -> None:
    """Load the benchmarks and register the plugins that run and report them.

    Raises UsageError for what does not exist or does not fit.
    """
    cwd = Path(config.invocation_params.dir)
    workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
    plugins: list[object] = [BenchmarkCollection()]
    what = ", ".join(dict.fromkeys(options.bench or [selection.bench for selection in selections]))
    run: BenchRun
    if workerinput is not None and (shared := shared_folder(config)) is not None:
        run = WorkerRun(
            options,
            selections=selections,
            in_flight=workerinput["hermes_in_flight"],
            cwd=cwd,
            shared=shared,
            worker=workerinput["workerid"],
        )
        rollouts: Rollouts = WorkerRollouts(run)
        config.stash[LOOP] = rollouts
        plugins += [rollouts, BenchReport(run)]
    elif processes := getattr(config.option, "numprocesses", None):
        with announced(config, what):
            run = controller = ControllerRun(
                options,
                selections=selections,
                in_flight=in_flight,
                cwd=cwd,
                processes=processes,
                shared=share_folder(config),
            )
        plugins += [Controller(controller), BenchReport(run, planned=controller.planned())]
    else:
        with announced(config, what):
            run = BenchRun(options, selections=selections, in_flight=in_flight, cwd=cwd)
        rollouts = config.stash[LOOP] = RunLoop(run)
        plugins += [rollouts, BenchReport(run)]
    plugins.append(RunLimits(run))
    halts_of(config).add(lambda: run.halted)
    config.stash[RUN] = run
    for plugin in plugins:
        config.pluginmanager.register(plugin, f"hermes-{type(plugin).__name__.lower()}")

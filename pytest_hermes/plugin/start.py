"""Puts a run of benchmarks into a session: which parts, depends on what the process is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..background import BackgroundLoop
from ..runs.distributed import DistributedRun, WorkerRun
from ..runs.loading import load_run
from ..runs.plan import RunPlan
from ..runs.run import Run
from ..runs.selection import Selection
from .abort_reason import abort_reasons_of
from .interrupts import interrupts_of
from .items import RUN, BenchmarkCollection
from .options import Options
from .reporting import BenchReport
from .rollouts import LOOP, Rollouts
from .run_loop import RunLoop
from .shared_folder import budget_folder, share_folder, shared_folder
from .startup_notice import announced
from .user_outcomes import meaning_of
from .xdist_controller import Controller
from .xdist_worker import WorkerRollouts


def start_run(config: pytest.Config, options: Options, selections: list[Selection], in_flight: int) -> None:
    """Load the benchmarks and register the plugins that run and report them.

    Raises UsageError for what does not exist or does not fit.
    """
    workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
    shared = shared_folder(config)
    loop = BackgroundLoop(name="hermes-engine")
    if workerinput is not None and shared is not None:
        plan = _loaded(config, options, selections, workerinput["hermes_in_flight"], loop, shared.index)
        worker = WorkerRun(plan, loop, shared, workerinput["workerid"], classify=meaning_of)
        run = worker.run
        rollouts: Rollouts = WorkerRollouts(worker)
    else:
        with announced(config, ", ".join(dict.fromkeys(options.bench or [each.bench for each in selections]))):
            plan = _loaded(config, options, selections, in_flight, loop)
        run = Run(plan, loop, classify=meaning_of, shared=budget_folder(config))
        rollouts = RunLoop(run)
    plugins: list[object] = [BenchmarkCollection()]
    processes = getattr(config.option, "numprocesses", None)
    if workerinput is None and processes:
        try:
            distributed = DistributedRun(run, share_folder(config), processes)
        except BaseException:
            run.close()
            raise
        plugins += [Controller(distributed), BenchReport(distributed, processes, planned=distributed.planned)]
    else:
        config.stash[LOOP] = rollouts
        plugins += [rollouts, BenchReport(run)]
    abort_reasons_of(config).add(lambda: run.abort_reason)
    config.stash[RUN] = run
    interrupts_of(config).on_second(run.hurry)
    for plugin in plugins:
        config.pluginmanager.register(plugin, f"hermes-{type(plugin).__name__.lower()}")


def _loaded(
    config: pytest.Config,
    options: Options,
    selections: list[Selection],
    in_flight: int,
    loop: BackgroundLoop,
    index: Path | None = None,
) -> RunPlan:
    try:
        return load_run(
            options,
            loop,
            cwd=Path(config.invocation_params.dir),
            in_flight=in_flight,
            selections=selections,
            index=index,
        )
    except BaseException:
        loop.close()
        raise

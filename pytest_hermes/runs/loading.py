"""From options to the plan of a run: benchmarks, configurations, models, tasks."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..background import BorrowedLoop, LoopRunner
from ..benchmark import Benchmark
from ..config.options import DEFAULT_IN_FLIGHT, Options
from ..config.settings import Config
from ..core.redact import Redactor
from ..errors import UsageError
from ..models.builtin import NopSource, OracleSource
from ..models.limiter import CallLimiter, CallLimiters
from ..models.protocol import ModelSource
from ..models.retry import retry_policy
from ..rollout.plan import PlannedTask
from .catalog import load_benchmark
from .configuration import Configuration, judge_source, model_source, sandbox_of, tools_of
from .fingerprint import fingerprint
from .folder import RunFolder, SharedRunFolder
from .in_flight import within_open_files
from .manifest import Fingerprint
from .plan import LoadedBenchmark, RunPlan
from .run_id import RUNS_DIR, new_run_id
from .selection import Selection
from .task_index import read_index
from .tasks import first, load_tasks, select
from .verifier_modes import MODES, known_modes


async def load(options: Options, *, cwd: Path | None = None) -> RunPlan:
    """Return what a run of these options consists of; benchmarks are set up on the running loop.

    Paths count from `cwd`, or else from the process's own. Raises UsageError for what does not exist or does not fit.
    """
    try:
        options = options.checked()
    except ValueError as error:
        raise UsageError(str(error)) from None
    loop = BorrowedLoop(asyncio.get_running_loop())
    in_flight = options.concurrency or DEFAULT_IN_FLIGHT
    return await asyncio.to_thread(load_run, options, loop, cwd=cwd or Path.cwd(), in_flight=in_flight)


def load_run(
    options: Options,
    loop: LoopRunner,
    *,
    cwd: Path,
    in_flight: int,
    selections: Sequence[Selection] = (),
    index: Path | None = None,
) -> RunPlan:
    """Return what a run consists of; benchmarks are set up on `loop`, which another thread runs.

    `index` is what another process of the run has written: the tasks and the folder are those that it found. Raises
    UsageError for what does not exist or does not fit.
    """
    every_mode = options.verifier == "all"
    if every_mode and not options.validate:
        raise UsageError("--hermes-verifier=all needs --hermes-validate; choose one mode to measure a model in")
    configuration = Configuration(replace(options, verifier=None) if every_mode else options, cwd)
    benchmarks = _benchmarks(options, selections, cwd)
    configs = [configuration.configure(benchmark) for benchmark in benchmarks]
    isolation = ", ".join(dict.fromkeys(sandbox_of(config).describe() for config in configs))
    tools = [tools_of(config) for config in configs]
    processes = (options.procs or 1) if index is None else 1
    in_flight, fewer = within_open_files(in_flight, [config.env for config in configs], processes=processes)
    # The model first: a missing key should not cost the minutes that a dataset takes to load.
    sources = _sources(options, benchmarks, configs, in_flight)
    judge = judge_source(options, CallLimiter(in_flight))
    for benchmark in benchmarks:
        if benchmark.uses_judge and judge is None:
            raise UsageError(f"benchmark {benchmark.name!r} is scored by a judge model: add --hermes-judge-model=NAME")
    # Only now: its items may be of classes in the benchmarks' modules.
    known = None if index is None else read_index(index)
    if known is None:
        chosen = _chosen_tasks(benchmarks, configuration, options, selections, loop)
    else:
        chosen = [task for benchmark in benchmarks for task in known.of(benchmark)]
    loaded = [
        LoadedBenchmark(*parts, [task for task in chosen if task.benchmark is parts[0]])
        for parts in zip(benchmarks, configs, sources, tools, strict=True)
    ]
    if options.validate:
        loaded = [variant for each in loaded for variant in _validated(each, every_mode=every_mode)]
    else:
        loaded = [replace(each, modes=known_modes(each)) for each in loaded]
    redactor = Redactor.from_environment(os.environ, configuration.secrets)
    if known is not None:
        folder: RunFolder = SharedRunFolder(known.run_id, known.run_dir, None, known.finished, known.results_before)
    else:
        identity = fingerprint(loaded, judge, options.task_timeout, redactor)
        folder = _folder(options, loaded, identity, cwd)
    return RunPlan(
        options=options,
        folder=folder,
        run_id=folder.run_id,
        benchmarks=loaded,
        judge=judge,
        in_flight=in_flight,
        redactor=redactor,
        selections=selections,
        isolation=isolation,
        notes=[*fewer, *configuration.header([(each.config, each.benchmark) for each in loaded])],
        began=time.monotonic() if known is None else known.began,
    )


def _benchmarks(options: Options, selections: Sequence[Selection], cwd: Path) -> list[Benchmark]:
    specs = dict.fromkeys(options.bench or [selection.bench for selection in selections])
    benchmarks = [load_benchmark(spec, cwd) for spec in specs]
    names = [benchmark.name for benchmark in benchmarks]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two benchmarks are called {name!r}; their node ids would be the same")
    return benchmarks


def _sources(
    options: Options, benchmarks: Sequence[Benchmark], configs: Sequence[Config], in_flight: int
) -> list[ModelSource]:
    if options.validate:
        return [OracleSource() for _ in benchmarks]
    calls = CallLimiters(in_flight)
    policy = retry_policy(options.request_timeout)
    return [
        model_source(config, f"benchmark {benchmark.name!r}", calls=calls, policy=policy)
        for benchmark, config in zip(benchmarks, configs, strict=True)
    ]


def _validated(loaded: LoadedBenchmark, *, every_mode: bool) -> list[LoadedBenchmark]:
    """Return a benchmark once with each model that validates it; with the oracle in each verifier mode, if it has any.

    Its `nop` runs in the first mode: doing nothing leaves the same in all of them.
    """
    if not every_mode or "verifier" not in loaded.benchmark.config_fields:
        return [loaded, replace(loaded, source=NopSource())]
    return [
        *(replace(loaded, source=OracleSource(mode), config=loaded.config.verified(mode)) for mode in MODES),
        replace(loaded, source=NopSource(), config=loaded.config.verified(MODES[0])),
    ]


def _chosen_tasks(
    benchmarks: Sequence[Benchmark],
    configuration: Configuration,
    options: Options,
    selections: Sequence[Selection],
    loop: LoopRunner,
) -> list[PlannedTask]:
    tasks = [task for benchmark in benchmarks for task in load_tasks(benchmark, options.limit, loop)]
    chosen = first(configuration.choose(tasks), options.limit)
    for selection in selections:
        mine = [task for task in chosen if task.benchmark.name == selection.bench]
        if selection.task is not None:
            select(mine, [selection.task], ())
    return chosen


def _folder(options: Options, loaded: Sequence[LoadedBenchmark], identity: Fingerprint, cwd: Path) -> RunFolder:
    if options.resume is not None:
        return RunFolder.resume(options, identity, cwd)
    benchmarks = dict.fromkeys(each.benchmark.name for each in loaded)
    models = dict.fromkeys(each.source.name for each in loaded)
    run_id = new_run_id(list(benchmarks), ", ".join(models))
    return RunFolder(run_id, cwd / (options.run_dir or RUNS_DIR / run_id), identity)

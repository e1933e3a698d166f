"""`--hermes-list`: the installed benchmarks, or the tasks of those that `--hermes-bench` names."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ..background import BackgroundLoop
from ..benchmark import Benchmark
from ..config.settings import Config
from ..errors import UsageError
from ..models.builtin import BUILTIN, NopSource
from ..models.protocol import ModelSource
from ..report.numbers import counted
from ..rollout.plan import PlannedTask
from ..runs.catalog import installed_benchmarks, load_benchmark
from ..runs.configuration import Configuration
from ..runs.forecast import Forecast, forecast
from ..runs.notes import notes_of
from ..runs.plan import LoadedBenchmark
from ..runs.tasks import first, load_tasks
from ..runs.verifier_modes import known_modes
from .options import Options, read_options
from .user_outcomes import meaning_of

#: How the first words of a forecast continue a number of tasks.
_WOULD = {"skipped": "would be skipped", "error": "would end in an error", "end": "would end the run"}


def list_benchmarks(config: pytest.Config) -> None:
    """Print the list. Raises pytest.UsageError for a benchmark that does not exist."""
    options = read_options(config)
    try:
        cwd, verbose = Path(config.invocation_params.dir), config.option.verbose > 0
        lines = _tasks(options, cwd, verbose=verbose) if options.bench else _benchmarks()
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    for line in lines:
        print(line)


def _benchmarks() -> list[str]:
    rows = []
    for name in installed_benchmarks():
        try:
            rows.append((name, _description(load_benchmark(name, Path.cwd()))))
        except UsageError as error:  # one broken plug-in must not hide the others
            rows.append((name, f"! {error}"))
    return [
        *_table(rows),
        "",
        "run one:        pytest --hermes-bench=NAME",
        "list its tasks: pytest --hermes-bench=NAME --hermes-list",
    ]


def _tasks(options: Options, cwd: Path, *, verbose: bool) -> list[str]:
    configuration = Configuration(options, cwd)
    loop = BackgroundLoop(name="hermes-list")
    lines = []
    try:
        for spec in options.bench or ():
            benchmark = load_benchmark(spec, cwd)
            config = configuration.configure(benchmark)
            tasks = first(configuration.choose(load_tasks(benchmark, options.limit, loop)), options.limit)
            loaded = LoadedBenchmark(benchmark, config, _source(options, config), (), tasks)
            if verbose:
                loaded = replace(loaded, modes=known_modes(loaded))
                lines += _with_endings(loaded, loop.run(forecast(loaded, meaning_of)))
            else:
                lines += [f"{benchmark.name}: {counted(len(tasks), 'task')}", *_rows(loaded, {})]
            lines += [f"  note: {note}" for note in notes_of(benchmark, [task.task for task in tasks])]
    finally:
        loop.close()
    return lines


def _source(options: Options, config: Config) -> ModelSource:
    """Return the built-in model that the tasks would run with; any other can answer all that `nop` can."""
    name = "oracle" if options.validate else config.openai.model_name
    return BUILTIN.get(name or "", NopSource)()


def _with_endings(loaded: LoadedBenchmark, forecast: Forecast) -> list[str]:
    kinds = Counter(ending.split(maxsplit=1)[0].rstrip(":") for ending in forecast.endings.values())
    counts = ", ".join(f"{count} {_WOULD.get(kind, kind)}" for kind, count in kinds.items())
    name = loaded.benchmark.name
    lines = [f"{name}: {counted(len(loaded.tasks), 'task')}" + (f", {counts}" if counts else "")]
    if forecast.unasked is not None:
        lines.append(f"  what the sandbox lacks is not known: {forecast.unasked}")
    return lines + _rows(loaded, forecast.endings)


def _rows(loaded: LoadedBenchmark, endings: Mapping[str, str]) -> list[str]:
    return _table(
        [
            (f"  {planned.task.id}", "  ".join(filter(None, (_attributes(planned), endings.get(planned.task.id)))))
            for planned in loaded.tasks
        ]
    )


def _attributes(planned: PlannedTask) -> str:
    task = planned.task
    words = [word for word in (task.category, task.difficulty, *task.tags) if word]
    return ", ".join(words)


def _description(benchmark: Benchmark) -> str:
    return benchmark.description or (inspect.getdoc(type(benchmark)) or "").partition("\n")[0]


def _table(rows: list[tuple[str, str]]) -> list[str]:
    width = max((len(first) for first, _ in rows), default=0)
    return [f"{first:<{width}}  {second}".rstrip() for first, second in rows]

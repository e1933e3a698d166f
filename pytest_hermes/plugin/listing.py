"""`--hermes-list`: the installed benchmarks, or the tasks of those that `--hermes-bench` names."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from ..background import BackgroundLoop
from ..benchmark import Benchmark
from ..errors import UsageError
from ..report.numbers import counted
from ..rollout.plan import PlannedTask
from ..runs.catalog import installed_benchmarks, load_benchmark
from ..runs.configuration import Configuration
from ..runs.tasks import first, load_tasks
from .options import Options, read_options


def list_benchmarks(config: pytest.Config) -> None:
    """Print the list. Raises pytest.UsageError for a benchmark that does not exist."""
    options = read_options(config)
    try:
        lines = _tasks(options, Path(config.invocation_params.dir)) if options.bench else _benchmarks()
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


def _tasks(options: Options, cwd: Path) -> list[str]:
    configuration = Configuration(options, cwd)
    loop = BackgroundLoop(name="hermes-list")
    lines = []
    try:
        for spec in options.bench or ():
            benchmark = load_benchmark(spec, cwd)
            configuration.configure(benchmark)
            tasks = first(configuration.choose(load_tasks(benchmark, options.limit, loop)), options.limit)
            lines += [
                f"{benchmark.name}: {counted(len(tasks), 'task')}",
                *_table([(f"  {task.task.id}", _attributes(task)) for task in tasks]),
            ]
    finally:
        loop.close()
    return lines


def _attributes(planned: PlannedTask) -> str:
    task = planned.task
    words = [word for word in (task.category, task.difficulty, *task.tags) if word]
    return ", ".join(words)


def _description(benchmark: Benchmark) -> str:
    return benchmark.description or (inspect.getdoc(type(benchmark)) or "").partition("\n")[0]


def _table(rows: list[tuple[str, str]]) -> list[str]:
    width = max((len(first) for first, _ in rows), default=0)
    return [f"{first:<{width}}  {second}".rstrip() for first, second in rows]

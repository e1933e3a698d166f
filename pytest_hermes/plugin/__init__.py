"""The pytest door: options, items, fixtures, hooks.

Without `--hermes-bench` nothing here imports more than the standard library and pytest.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from ..config.options import DEFAULT_IN_FLIGHT
from ..core.one_line import described, first_line, text_of
from ..runs.selection import Selection
from . import hookspecs
from .abort_reason import abort_reasons_of
from .distribution import (
    check_n_is_known,
    check_processes,
    in_flight_from_n,
    set_processes,
)
from .fixtures import (  # noqa: F401  pytest finds fixtures in the plugin's module
    _hermes_test_sandbox,
    hermes_agent,
    hermes_score,
    hermes_task,
    rollout,
    sandbox,
    tool_context,
)
from .items import CALL, REASON, RUN
from .node_ids import parse_node_id
from .options import Options, add_options, check_flags, check_without_benchmark, read_options


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)
    pluginmanager.register(_Commands(), "hermes-commands")


class _Commands:
    """What shows something and exits, by a hook of its own: a wrapper like the one below cannot end the session."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> int | None:
        if config.option.hermes_list:
            from .listing import list_benchmarks

            list_benchmarks(config)
        elif config.option.hermes_show_config:
            from .show_config import show_config

            show_config(config)
        else:
            return None
        return pytest.ExitCode.OK


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    check_flags(args)
    if early_config.known_args_namespace.hermes_bench:
        check_n_is_known(args, early_config.pluginmanager)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, int | None, int | None]:
    """Take `-n` and the benchmarks' node ids out before xdist and the collection see them."""
    options = read_options(config)
    selections = _take_selections(config, options)
    if options.bench or selections:
        if config.args_source != config.ArgsSource.ARGS:
            config.args[:] = []
            config.args_source = config.ArgsSource.ARGS
        in_flight = options.concurrency or in_flight_from_n(config) or DEFAULT_IN_FLIGHT
        config.stash[_REQUEST] = (options, selections, in_flight)
        if not hasattr(config, "workerinput"):
            check_processes(options.procs, in_flight, config)
            set_processes(config, 1 if config.option.collectonly else options.procs)
    elif not hasattr(config, "workerinput"):
        check_without_benchmark(config.invocation_params.args)
    return (yield)


_REQUEST: pytest.StashKey[tuple[Options, list[Selection], int]] = pytest.StashKey()


def _take_selections(config: pytest.Config, options: Options) -> list[Selection]:
    """Remove node ids of benchmark items from the arguments and return them; files and folders go first."""
    if config.args_source != config.ArgsSource.ARGS:
        return []
    selections, others = [], []
    for argument in config.args:
        selection = parse_node_id(argument)
        if selection is None or (config.invocation_params.dir / argument.split("::")[0]).exists():
            others.append(argument)
        elif options.bench or _is_installed(selection.bench):
            selections.append(selection)
        elif config.option.pyargs:
            others.append(argument)
        else:
            raise pytest.UsageError(
                f"{argument}: no benchmark called {selection.bench!r} is installed; for a benchmark in a file, add "
                "--hermes-bench=path/to/file.py:Class"
            )
    config.args[:] = others
    return selections


def _is_installed(bench: str) -> bool:
    from ..runs.catalog import installed_benchmarks

    return bench in installed_benchmarks()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker what it has in common with the others.

    That is the id of the run, so that all workers' own tests write to one results file, and where they share a budget.
    """
    from .agent_report import agent_run_id, report_agents

    config: pytest.Config = node.config
    abort_reasons_of(config)  # what ends a worker is said here
    node.workerinput["hermes_run_id"] = agent_run_id(config)
    report_agents(config)
    if RUN in config.stash or read_options(config).has_budget:
        from .shared_folder import tell_of_folder

        tell_of_folder(config, node.workerinput)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    if call.excinfo is not None and not _wants_all(item.config):
        _end_in_the_load_errors(call.excinfo.value)
    report = yield
    if report.when == "call":
        item.stash[CALL] = report.outcome
        if call.excinfo is not None:
            item.stash[REASON] = _reason(call.excinfo.value)
    return report


def _reason(error: BaseException) -> str:
    """Return why a test did not pass, in one line; what pytest itself raises is only its message."""
    outcomes = (pytest.skip.Exception, pytest.fail.Exception, pytest.xfail.Exception)
    return (first_line(text_of(error)) if isinstance(error, outcomes) else "") or described(error)


def _wants_all(config: pytest.Config) -> bool:
    """Whether the user asked for whole tracebacks; the plugins that have these options may be disabled."""
    return bool(config.getoption("fulltrace", False) or config.getoption("usepdb", False))


def _end_in_the_load_errors(error: BaseException) -> None:
    """Cut an error's traceback off where this package begins: the error's own line says what there is to know."""
    from ..errors import HermesError

    ours = Path(__file__).parents[1]
    frame = error.__traceback__ if isinstance(error, HermesError) else None
    while frame is not None and frame.tb_next is not None:
        if ours in Path(frame.tb_next.tb_frame.f_code.co_filename).parents:
            frame.tb_next = None
        frame = frame.tb_next


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "hermes: an attempt of a benchmark's task (set by pytest-hermes)")
    request = config.stash.get(_REQUEST, None)
    if request is None:
        if (options := read_options(config)).configures and not hasattr(config, "workerinput"):
            from .agent_session import register_config_header

            register_config_header(config, options)
        return
    from ..errors import UsageError
    from .interrupts import interrupts_of
    from .start import start_run

    interrupts_of(config)
    try:
        start_run(config, *request)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    run = session.config.stash.get(RUN, None)
    if run is not None:
        run.close()


def pytest_unconfigure(config: pytest.Config) -> None:
    run = config.stash.get(RUN, None)
    if run is not None:  # a session that never started, after an error in another plugin's configure
        run.close()

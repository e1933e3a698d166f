"""The options as pytest has them: each is a command-line flag, an ini key and an environment variable.

The command line wins over the environment, the environment over the ini file, that over the file `--hermes-config`
names, and all of them over the benchmark's own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

from ..config.options import OPTIONS, Option, plain, read_times
from ..config.options import Options as Options
from ..core.suggest import nearest

#: What means nothing without a benchmark: who gives one of these on the command line forgot to name it.
_OF_BENCHMARKS = ("resume", "validate", "task", "skip_task", "limit")
#: What means nothing without `--hermes-resume`.
_OF_RESUMING = ("retry_errors", "resume_force")
#: Paths, which the ini file counts from its folder.
_FILES = ("config", "dataset")


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("hermes", "agent benchmarks (pytest-hermes)")
    for option in OPTIONS:
        if option.times:
            group.addoption(option.flag, nargs="?", const="1", default=None, metavar="N", help=option.help)
            continue
        if option.parse is None:
            group.addoption(option.flag, action="store_true", default=False, help=option.help)
            continue
        action = "append" if option.repeatable else "store"
        group.addoption(option.flag, action=action, default=None, metavar=option.metavar, help=option.help)
        parser.addini(option.dest, plain(option.about), default=None)


def check_flags(args: Sequence[str]) -> None:
    """Raise pytest.UsageError for a flag that is nearly one of ours; pytest would only call it unrecognized."""
    known = [option.flag for option in OPTIONS]
    for arg in args:
        flag = arg.partition("=")[0]
        if flag.startswith("--") and flag not in known and (close := nearest(flag, known, 0.85)):
            raise pytest.UsageError(f"unknown option {flag}; did you mean {close}?")


def read_option(config: pytest.Config, option: Option) -> tuple[Any, str]:
    """Return the value of an option and its source, "" when nothing sets it or, as for `set`, several sources may.

    Raises pytest.UsageError that names the source when the value does not fit.
    """
    given = config.getoption(option.dest, None)
    if option.times:
        try:
            return 0 if given is None else read_times(option, given), ""
        except ValueError as error:
            raise pytest.UsageError(f"{option.flag}={given!r}: {error}") from None
    if option.parse is None:
        return bool(given), ""
    variable, ini = os.environ.get(option.variable, ""), str(config.getini(option.dest) or "")
    if option.name == "set":
        by_lines = ((f"ini key {option.dest}", ini.splitlines()), (option.variable, variable.splitlines()))
        assigned = (*by_lines, (option.flag, given or ()))
        return tuple((source, text) for source, texts in assigned for text in texts if text.strip()), ""
    if given is not None:
        text, origin = (",".join(given) if option.repeatable else given), option.flag
    elif variable:
        text, origin = variable, option.variable
    elif ini.strip():
        text, origin = ini, f"ini key {option.dest}"
    else:
        return None, ""
    try:
        return option.parse(text), origin
    except ValueError as error:
        raise pytest.UsageError(f"{origin}={text!r}: {error}") from None


def check_without_benchmark(typed: Sequence[str]) -> None:
    """Raise pytest.UsageError when what the user typed has an option that no session without a benchmark can heed.

    What the ini file adds to each command line may be there for the sessions that have one.
    """
    given = {str(text).partition("=")[0] for text in typed}
    for option in OPTIONS:
        if option.name in _OF_BENCHMARKS and option.flag in given:
            raise pytest.UsageError(f"{option.flag} needs a benchmark: name it with --hermes-bench")


def read_options(config: pytest.Config) -> Options:
    """Return all options. Raises pytest.UsageError for one that does not fit."""
    values, origins = {}, {}
    for option in OPTIONS:
        value, origin = read_option(config, option)
        if value is not None:
            values[option.name] = value
        if origin:
            origins[option.name] = origin
    for name in _FILES:
        if origins.get(name, "").startswith("ini key") and config.inipath is not None:
            # As pytest's own ini keys: from the folder of the file they stand in.
            path = config.inipath.parent / values[name]
            if name == "config" or path.exists():  # a dataset may be none of paths
                values[name] = os.path.relpath(path, config.invocation_params.dir)
    options = Options(**values, origins=origins)
    for option in OPTIONS:
        if option.name in _OF_RESUMING and values[option.name] and options.resume is None:
            raise pytest.UsageError(f"{option.flag} needs --hermes-resume")
    return options

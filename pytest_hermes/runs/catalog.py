"""Finds benchmarks: those that are installed, by entry point, and a user's own, by `path/to/file.py:Class`."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from ..benchmark import Benchmark
from ..config.installed import Offer, installed
from ..core.one_line import described, shown
from ..core.source import raised_at, shown_path
from ..core.suggest import unknown
from ..errors import UsageError
from ..sandbox.privacy import keep_private
from .attributes import check_attributes
from .load_errors import blaming, called, is_stop

GROUP = "pytest_hermes.benchmarks"
#: Entry points of functions that make a benchmark of a class of another kind, or return None for one they do not know.
ADAPTERS = "pytest_hermes.benchmark_adapters"

#: A benchmark's name is the first part of its node ids.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def installed_benchmarks() -> dict[str, Offer]:
    """Return the installed benchmarks' entry points by name, without importing any."""
    return {name: points[0] for name, points in installed(GROUP).items()}


def load_benchmark(spec: str, base: Path) -> Benchmark:
    """Return the benchmark that `spec` names: an installed one, or `file.py:Class` relative to `base`.

    Raises UsageError when there is none, or when what is there is not a benchmark and no adapter makes one of it.
    """
    cls = _checked(_adapted(load_class(spec, base)), spec)
    _check_needs_no_arguments(cls, spec)
    with blaming(spec, cls, "__init__"):
        benchmark = cls()
    check_attributes(benchmark, set_up=False)
    return benchmark


def _check_needs_no_arguments(cls: type[Benchmark], spec: str) -> None:
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise UsageError(f"{spec}: {called(cls, '__init__')} must work without arguments: {error}") from error
    except ValueError:  # a class that does not tell
        return


def load_class(spec: str, base: Path) -> object:
    """Return what `spec` names, whatever it is. Raises UsageError when there is nothing, or it cannot be imported."""
    if ".py" in spec or "/" in spec:
        return _from_file(spec, base)
    points = installed_benchmarks()
    if spec not in points:
        raise UsageError(f"{unknown('benchmark', spec, points)}; name your own benchmark as path/to/file.py:Class")
    try:
        return points[spec].load()
    except BaseException as error:
        if is_stop(error):
            raise
        raise UsageError(f"cannot import benchmark {spec!r}: {raised_at(error)}: {described(error)}") from error


def _adapted(cls: object) -> object:
    if not inspect.isclass(cls) or issubclass(cls, Benchmark):
        return cls
    for point in itertools.chain.from_iterable(installed(ADAPTERS).values()):
        try:
            made = point.load()(cls)
        except ModuleNotFoundError:  # of an extra that is not installed, so no class can be of its kind
            continue
        if made is not None:
            return made
    return cls


def _from_file(spec: str, base: Path) -> object:
    file, _, class_name = spec.rpartition(":") if not spec.endswith(".py") else (spec, "", "")
    path = (base / file).resolve()
    if not path.is_file():
        raise UsageError(f"no such file: {file}; name a benchmark as path/to/file.py:Class")
    module = _import_file(path)
    if not class_name:
        found = list(_benchmarks_in(module))
        hint = f"; it has {', '.join(found)}" if found else ""
        raise UsageError(f"{spec}: also name the class, {file}:{found[0] if found else 'Class'}{hint}")
    cls = getattr(module, class_name, None)
    if cls is None:
        raise UsageError(f"{file}: {unknown('class', class_name, _benchmarks_in(module))}")
    return cls


def _import_file(path: Path) -> ModuleType:
    """Import a file under a name of its own, so that it collides with nothing, and once a process."""
    # The same in every process, so that what one pickles another can read.
    name = f"pytest_hermes_user_{path.stem}_{hashlib.sha1(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    keep_private(str(path.parent))
    # As for a script: what lies beside the file can be imported.
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    try:
        module_spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if is_stop(error):
            raise
        # Where it was raised may be another file, which this one imports.
        raise UsageError(f"cannot import {shown_path(path)}: {raised_at(error)}: {described(error)}") from error
    return module


def _benchmarks_in(module: ModuleType) -> Iterator[str]:
    """Yield the names of a module's own classes that are benchmarks, or that an adapter makes one of."""
    for name, value in vars(module).items():
        if inspect.isclass(value) and value.__module__ == module.__name__:
            adapted = _adapted(value)
            if inspect.isclass(adapted) and issubclass(adapted, Benchmark):
                yield name


def _checked(cls: object, spec: str) -> type[Benchmark]:
    if not (inspect.isclass(cls) and issubclass(cls, Benchmark)):
        raise UsageError(f"{spec} is not a subclass of pytest_hermes.Benchmark")
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(
            f"{spec}: its `name` is {name!r}; it must start with a letter, and have only letters, digits and _ . -"
        )
    for method in ("tasks", "compute_reward"):
        if getattr(cls, method) is getattr(Benchmark, method):
            raise UsageError(f"{spec} does not define {method}(); see the Benchmark class for what it returns")
        if not callable(getattr(cls, method)):
            value = shown(getattr(cls, method))
            raise UsageError(f"{spec}: its `{method}` is {value}; it must be a method: def {method}(self, …)")
    return cls

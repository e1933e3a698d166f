"""Whether the attributes of a benchmark are what they must be. Those of a configuration are checked with that."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ..benchmark import Benchmark
from ..core import checks
from ..core.checks import Kind
from ..core.source import defined_at
from ..errors import UsageError
from .load_errors import blaming

_KINDS: Mapping[str, Kind[Any]] = {
    "name": checks.NAME,
    "description": checks.TEXT,
    "config_fields": checks.TEXTS,
    "revision": checks.NAME.or_none,
    "notes": checks.TEXTS,
    "agent_seconds": checks.AMOUNT,
    "verifier_seconds": checks.AMOUNT,
    "verifier_times_itself": checks.TRUTH,
    "agent_tokens": checks.COUNT.or_none,
    "agent_cost": checks.COST.or_none,
    "reward_range": checks.RANGE.or_none,
    "default_config": checks.NAME.or_none,
    "endless": checks.TRUTH,
}


def check_attributes(benchmark: Benchmark, *, set_up: bool) -> None:
    """Raise UsageError for the first attribute that does not fit, naming benchmark, class and value.

    One that is computed may need what `setup()` loads: it is left alone before the benchmark is `set_up`.
    """
    cls = type(benchmark)
    for name, kind in _KINDS.items():
        value = inspect.getattr_static(benchmark, name)
        if hasattr(type(value), "__get__"):
            if not set_up:
                continue
            with blaming(f"benchmark {benchmark.name!r}", cls, name):
                value = getattr(benchmark, name)
        try:
            kind.check(value, "")
        except ValueError as error:
            where = defined_at(cls)
            what = f"{cls.__name__}.{name}{f' ({where})' if where else ''}"
            raise UsageError(f"benchmark {benchmark.name!r}: {what}{error}") from None

"""Whether a session has code of its user's that takes part in running benchmark items."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

#: What a hook may do to an item, or learn of it, before its report is there.
_HOOKS = (
    "pytest_collection_modifyitems",
    "pytest_hermes_rollout",
    "pytest_itemcollected",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_protocol",
    "pytest_runtest_setup",
    "pytest_runtest_teardown",
)


def has_own_code(item: pytest.Function) -> bool:
    """Return whether fixtures or hooks of the user's, as in a `conftest.py`, take part in running a benchmark's item.

    Plugins that are installed do not count: what they do for every test means nothing for one that does not run.
    """
    fixtures = [fixture.func for several in item._fixtureinfo.name2fixturedefs.values() for fixture in several]
    plugins = [
        implementation.plugin for name in _HOOKS for implementation in getattr(item.config.hook, name).get_hookimpls()
    ]
    return not all(map(_is_installed, [*fixtures, *plugins]))


def _is_installed(code: object) -> bool:
    """Return whether a plugin, or the function of a fixture, is this package's or that of something installed."""
    name = code.__name__ if isinstance(code, ModuleType) else getattr(code, "__module__", type(code).__module__)
    if name.startswith("pytest_hermes."):
        return True
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)

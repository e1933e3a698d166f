"""Names of a package that are imported when they are first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of `package`; `homes` has its names and their modules."""

    def look_up(name: str) -> object:
        try:
            home = homes[name]
        except KeyError:
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        return getattr(import_module(home, package), name)

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return look_up, list_names, sorted(homes)

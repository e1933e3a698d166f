"""What there is to choose from by name: what installed packages offer by entry point, and what a process registers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

from ..errors import UsageError


class Offer(Protocol):
    """One thing by its name; an entry point is one."""

    @property
    def name(self) -> str: ...

    @property
    def value(self) -> str:
        """Where it is defined, for messages."""

    def load(self) -> Any:
        """Return it; raises whatever its import raises."""


@dataclass(frozen=True)
class _Registered:
    name: str
    value: str
    thing: object

    def load(self) -> Any:
        return self.thing


#: By group and name. Of the process: what a conftest registers is there before any configuration is read.
_REGISTERED: dict[str, dict[str, _Registered]] = {}


def register(group: str, name: str, thing: object, where: str) -> None:
    """Offer `thing`, which is defined in the module `where`, under `name` in this process.

    What the same name stood for before is replaced. Raises UsageError for a name that an installed package has.
    """
    if taken := _of_packages(group).get(name):
        raise UsageError(f"{where}: {name!r} is the name of {taken[0].value}, which is installed; choose another")
    _REGISTERED.setdefault(group, {})[name] = _Registered(name, where, thing)


def installed(group: str) -> Mapping[str, tuple[Offer, ...]]:
    """Return what there is of a group by name, the names in alphabetic order, without importing any.

    Of one name there is more than one when several packages have it.
    """
    registered = _REGISTERED.get(group)
    if not registered:
        return _of_packages(group)
    found: dict[str, tuple[Offer, ...]] = {**_of_packages(group)}
    found.update((name, (one,)) for name, one in registered.items())
    return dict(sorted(found.items()))


@functools.cache  # looking through all that is installed takes milliseconds, and every rollout asks
def _of_packages(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        found[point.name] = (*found.get(point.name, ()), point)
    return found

"""The local sandbox's `terminal_options`: what it shows of the host besides the system's programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..core.one_line import shown
from ..core.suggest import unknown
from ..errors import UsageError
from .mounts import Mount, within

_KINDS: dict[str, Literal["read-only", "writable"]] = {"bind": "writable", "ro_bind": "read-only"}

#: What a sandbox has for itself; a mount over it would break it.
_OWN = ("/dev", "/proc", "/sys")


@dataclass(frozen=True)
class LocalOptions:
    """`bind` and `ro_bind`, lists of paths on the host, each `PATH` or `PATH:PLACE IN THE SANDBOX`."""

    mounts: tuple[Mount, ...] = ()

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> LocalOptions:
        """Return what `options` ask for. Raises UsageError for what does not exist or does not fit."""
        mounts: list[Mount] = []
        for name, values in options.items():
            if name not in _KINDS:
                raise UsageError(unknown("option of the local sandbox", str(name), _KINDS))
            if not isinstance(values, list | tuple):
                raise UsageError(
                    f"the option {name!r} of the local sandbox is {shown(values)}; it must be a list of paths"
                )
            mounts += (_mount(name, value) for value in values)
        return cls(tuple(mounts))

    def describe(self) -> str:
        """Return what is bound, in a few words for the header."""
        by_option = {name: [m for m in self.mounts if m.kind == kind] for name, kind in _KINDS.items()}
        return ", ".join(
            f"{name} {' '.join(m.target if m.source == m.target else f'{m.source}:{m.target}' for m in mounts)}"
            for name, mounts in by_option.items()
            if mounts
        )


def _mount(option: str, value: object) -> Mount:
    what = f"the option {option!r} of the local sandbox"
    if not isinstance(value, str):
        raise UsageError(f"{what} has {shown(value)} in it; it must be a list of paths")
    source, _, target = value.partition(":")
    source = os.path.expanduser(source)
    target = target or source
    for path in (source, target):
        if not path.startswith("/"):
            raise UsageError(f"{what} has {value!r} in it; a path must be absolute, or begin with ~")
    target = os.path.normpath(target)
    if target == "/" or any(within(target, own) for own in _OWN):
        raise UsageError(f"{what} has {value!r} in it; {target} is the sandbox's own")
    if not os.path.exists(source):
        raise UsageError(f"{what} has {value!r} in it; there is no {source} on this machine")
    return Mount(_KINDS[option], target, os.path.realpath(source))

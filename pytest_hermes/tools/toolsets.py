"""Finds toolsets: the built-in ones, those of other packages, and those that a conftest registers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..config.installed import Offer, installed, register
from ..core.suggest import unknown
from ..errors import UsageError
from .tool import Tool, Toolset

GROUP = "pytest_hermes.toolsets"

#: Toolsets that configurations of other Hermes environments name and that do not exist here yet.
NOT_YET = frozenset(
    {
        "browser",
        "clarify",
        "code_execution",
        "cronjob",
        "delegation",
        "homeassistant",
        "image_gen",
        "memory",
        "messaging",
        "moa",
        "rl",
        "search",
        "session_search",
        "skills",
        "todo",
        "tts",
        "vision",
        "web",
    }
)


def register_toolset(toolset: Toolset) -> None:
    """Let agents of this process use a toolset without a package that names it, by a call in a conftest.py.

    Raises UsageError for a name that is taken.
    """
    if not isinstance(toolset, Toolset):
        raise UsageError(f"register_toolset() takes a Toolset, not a {type(toolset).__name__}")
    register(GROUP, toolset.name, toolset, f"the registered toolset {toolset.name!r}")


def resolve_toolsets(enabled: Sequence[str] | None = None, disabled: Sequence[str] | None = None) -> list[Tool]:
    """Return the tools of the `enabled` toolsets (None: of all there are) without the `disabled` ones.

    Raises UsageError for a name that does not exist, a toolset that cannot be loaded, and for two tools of one name.
    """
    found = _entry_points()
    names = sorted(found) if enabled is None else list(dict.fromkeys(_names("enabled", enabled)))
    off = set(_names("disabled", disabled or ()))
    for name in names:
        _check(name, found)
    for name in off - NOT_YET:
        _check(name, found)
    tools: dict[str, Tool] = {}
    source: dict[str, str] = {}
    for name in names:
        if name in off:
            continue
        for tool in _load(found[name]).tools:
            if tool.name in tools:
                raise UsageError(
                    f"toolsets {source[tool.name]!r} and {name!r} both have a tool {tool.name!r}; disable one of them"
                )
            tools[tool.name], source[tool.name] = tool, name
    return list(tools.values())


def _names(which: str, names: Iterable[str]) -> Iterable[str]:
    if isinstance(names, str):
        raise UsageError(f"{which} toolsets must be a list of names, not the string {names!r}; write [{names!r}]")
    return names


def _entry_points() -> dict[str, Offer]:
    found: dict[str, Offer] = {}
    for name, (point, *others) in installed(GROUP).items():
        for other in others:
            if other.value != point.value:
                raise UsageError(
                    f"two installed packages have a toolset {name!r}: {point.value} and {other.value}; "
                    "uninstall one of them"
                )
        found[name] = point
    return found


def _check(name: str, found: Iterable[str]) -> None:
    if name in found:
        return
    if name in NOT_YET:
        raise UsageError(
            f"toolset {name!r} is not part of this version yet; toolsets there are: {', '.join(sorted(found))}"
        )
    raise UsageError(unknown("toolset", name, found))


def _load(point: Offer) -> Toolset:
    try:
        toolset = point.load()
    except Exception as error:
        raise UsageError(
            f"toolset {point.name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(toolset, Toolset):
        raise UsageError(f"toolset {point.name!r} ({point.value}) is a {type(toolset).__name__}, not a Toolset")
    return toolset

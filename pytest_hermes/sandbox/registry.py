"""Sandbox backends by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from ..config.installed import installed, register
from ..core.suggest import unknown
from ..errors import UsageError
from ..task import SandboxSpec
from .protocol import Sandbox

GROUP = "pytest_hermes.sandboxes"

#: Backends that are planned and not built.
_NOT_YET = ("modal", "daytona", "ssh", "singularity")


class SandboxClass(Protocol):
    """What a backend's entry point names.

    Where it runs images, it has a `default_image`; where it takes options of its own, `check_options(options)`,
    which raises UsageError for those that are none, and perhaps `describe_options(options)`, for the header.
    `descriptors` is how many file descriptors of this process a sandbox takes at most, with a command at work. Where a
    sandbox can tell before its start that it cannot meet its task's needs, it has `async check_needs()`, which raises
    Unsupported.
    """

    def __call__(self, spec: SandboxSpec, *, name: str, options: Mapping[str, Any] = ...) -> Sandbox:
        """Return a sandbox that is not started yet; `name` is unique among the sandboxes of a run.

        `options` are passed only to a backend that takes some.
        """

    def describe(self) -> str:
        """Return the backend and what it isolates by, in a few words for the header."""


def register_sandbox(name: str, backend: Callable[..., Sandbox]) -> None:
    """Let this process use a backend without a package that names it, by a call in a conftest.py.

    Raises UsageError for a name that is taken.
    """
    register(GROUP, name, backend, f"the registered sandbox {name!r}")


def sandbox_names() -> list[str]:
    """Return the names of the backends that are installed."""
    return list(installed(GROUP))


def sandbox_class(name: str) -> SandboxClass:
    """Return the backend `name`. Raises UsageError when there is none, or when it cannot be imported."""
    points = installed(GROUP).get(name)
    if points is None:
        if name in _NOT_YET:
            known = ", ".join(sandbox_names())
            raise UsageError(f"this version has no sandbox {name!r} yet; known: {known}")
        raise UsageError(unknown("sandbox", name, {*sandbox_names(), *_NOT_YET}))
    try:
        return cast(SandboxClass, points[0].load())
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the sandbox {name!r} cannot be loaded: {error}") from error

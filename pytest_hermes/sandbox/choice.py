"""Which sandboxes a user wants: a backend, and what is added to what each task asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import UsageError
from ..task import SandboxSpec
from .protocol import Sandbox
from .registry import SandboxClass, sandbox_class

#: Of backends that do not say how many they take.
_DESCRIPTORS = 12


@dataclass(frozen=True, kw_only=True)
class SandboxChoice:
    """Makes the sandboxes of a run. `check` says whether it can."""

    backend: str = "local"
    #: The image of tasks that name none; None: the backend's own default.
    image: str | None = None
    #: False cuts every sandbox off from the network, None leaves it to the task.
    network: bool | None = None
    #: Of the backend; the docker sandbox takes those of `docker run`.
    options: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise UsageError for a backend that does not exist, or that cannot do what is asked of it."""
        backend = sandbox_class(self.backend)
        if self.image is not None and _default_image(backend) is None:
            raise UsageError(
                f"the sandbox {self.backend!r} cannot run images such as {self.image!r}; choose --hermes-sandbox=docker"
            )
        if self.options:
            check_options = getattr(backend, "check_options", None)
            if check_options is None:
                raise UsageError(f"the sandbox {self.backend!r} has no options (terminal_options)")
            check_options(self.options)

    def describe(self) -> str:
        """Return the backend and what it isolates by, for the header.

        Raises UsageError when it cannot be reached, or cannot isolate as it was told to.
        """
        backend = sandbox_class(self.backend)
        text = str(backend.describe()) if hasattr(backend, "describe") else self.backend
        if (image := self.image or _default_image(backend)) is not None:
            text += f", image {image} unless a task names one"
        if self.options and hasattr(backend, "describe_options"):
            text += f", {backend.describe_options(self.options)}"
        return text + (", no network" if self.network is False else "")

    @property
    def descriptors(self) -> int:
        """How many file descriptors of this process a sandbox takes at most, with a command at work."""
        return int(getattr(sandbox_class(self.backend), "descriptors", _DESCRIPTORS))

    def make(self, spec: SandboxSpec, *, name: str) -> Sandbox:
        """Return a sandbox, not started, for a task that needs `spec`; `name` is unique among those of a run."""
        backend = sandbox_class(self.backend)
        if spec.image is None and spec.build_context is None:
            spec = replace(spec, image=self.image or _default_image(backend))
        if self.network is False:
            spec = replace(spec, network=False)
        return backend(spec, name=name, options=self.options) if self.options else backend(spec, name=name)


def _default_image(backend: SandboxClass) -> str | None:
    return getattr(backend, "default_image", None)

"""Places by task id, for agent loops and tool contexts that are built by hand and share only that id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from ..background import at_exit, default_loop
from ..errors import UsageError
from ..sandbox.choice import SandboxChoice
from ..task import SandboxSpec
from .place import TERMINAL_TIMEOUT, Place

#: Name the backend, image and network of places that are made here, as they do for a run of tests.
SANDBOX_VARIABLE = "PYTEST_HERMES_SANDBOX"
IMAGE_VARIABLE = "PYTEST_HERMES_IMAGE"
NETWORK_VARIABLE = "PYTEST_HERMES_SANDBOX_NETWORK"

#: Seconds that closing what was forgotten may take, all together.
_CLOSING = 20.0


@dataclass(frozen=True)
class PlaceDefaults:
    """How places are made where only a task id is known."""

    sandboxes: SandboxChoice
    #: Seconds.
    terminal_timeout: float = TERMINAL_TIMEOUT


_DEFAULTS: ContextVar[PlaceDefaults | None] = ContextVar("hermes_place_defaults", default=None)


@contextlib.contextmanager
def place_defaults(defaults: PlaceDefaults) -> Iterator[None]:
    """Make places like this within the block, and within the tasks that are created there."""
    token = _DEFAULTS.set(defaults)
    try:
        yield
    finally:
        _DEFAULTS.reset(token)


_lock = threading.Lock()
_places: dict[str, Place] = {}
_made_here: set[str] = set()
_watching = False


def _of_environment() -> SandboxChoice:
    return SandboxChoice(
        backend=os.environ.get(SANDBOX_VARIABLE) or "local",
        image=os.environ.get(IMAGE_VARIABLE) or None,
        network=False if os.environ.get(NETWORK_VARIABLE) == "none" else None,
    )


def place_for(task_id: str) -> Place:
    """Return the place registered under `task_id`, or a new one that is registered from now on.

    A new one lives on the default loop, with the backend that `place_defaults` or PYTEST_HERMES_SANDBOX names, `local`
    by default; its sandbox starts at first use and is closed by `ToolContext.cleanup()`, or else at exit. Raises
    UsageError for a backend that does not exist.
    """
    global _watching
    with _lock:
        if task_id in _places:
            return _places[task_id]
        defaults = _DEFAULTS.get() or PlaceDefaults(_of_environment())
        sandboxes = defaults.sandboxes
        sandboxes.check()
        place = Place(
            lambda: sandboxes.make(SandboxSpec(), name=task_id),
            backend=sandboxes.backend,
            terminal_timeout=defaults.terminal_timeout,
            loop=default_loop().loop,
        )
        if not _watching:
            # After the default loop's own, hence called before it.
            at_exit(_close_forgotten)
            _watching = True
        _places[task_id] = place
        _made_here.add(task_id)
        return place


def register(task_id: str, place: Place) -> None:
    """Let `place_for(task_id)` find `place`. Raises UsageError when another one has that id."""
    with _lock:
        if _places.setdefault(task_id, place) is not place:
            raise UsageError(f"a sandbox is already registered for task id {task_id!r}; call cleanup() first")


def release(task_id: str) -> Place | None:
    """Forget the id and return its place, which the caller closes; None when there is none."""
    with _lock:
        _made_here.discard(task_id)
        return _places.pop(task_id, None)


def cleanup_all_environments() -> None:
    """Close the sandboxes of all places that `place_for` made and nobody released, for the end of an evaluation.

    Blocks the calling thread until it is done. Raises TimeoutError when it is not after 20 seconds.
    """

    async def close_all() -> None:
        await asyncio.gather(*(place.close() for place in left), return_exceptions=True)

    with _lock:
        left = [_places.pop(task_id) for task_id in _made_here]
        _made_here.clear()
    if left:
        default_loop().submit(close_all()).result(_CLOSING)


def _close_forgotten() -> None:
    with contextlib.suppress(Exception):
        cleanup_all_environments()

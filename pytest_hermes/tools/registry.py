"""Sessions by task id, for agent loops and tool contexts that are built by hand and share only that id."""

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
from .session import TERMINAL_TIMEOUT, SandboxSession

#: Name the backend, image and network of sessions that are made here, as they do for a run of tests.
SANDBOX_VARIABLE = "PYTEST_HERMES_SANDBOX"
IMAGE_VARIABLE = "PYTEST_HERMES_IMAGE"
NETWORK_VARIABLE = "PYTEST_HERMES_SANDBOX_NETWORK"

#: Seconds that closing what was forgotten may take, all together.
_CLOSING = 20.0


@dataclass(frozen=True)
class SessionDefaults:
    """How sessions are made where only a task id is known."""

    sandboxes: SandboxChoice
    #: Seconds.
    terminal_timeout: float = TERMINAL_TIMEOUT


_DEFAULTS: ContextVar[SessionDefaults | None] = ContextVar("hermes_session_defaults", default=None)


@contextlib.contextmanager
def session_defaults(defaults: SessionDefaults) -> Iterator[None]:
    """Make sessions like this within the block, and within the tasks that are created there."""
    token = _DEFAULTS.set(defaults)
    try:
        yield
    finally:
        _DEFAULTS.reset(token)


_lock = threading.Lock()
_slots: dict[str, SandboxSession] = {}
_made_here: set[str] = set()
_watching = False


def _of_environment() -> SandboxChoice:
    return SandboxChoice(
        backend=os.environ.get(SANDBOX_VARIABLE) or "local",
        image=os.environ.get(IMAGE_VARIABLE) or None,
        network=False if os.environ.get(NETWORK_VARIABLE) == "none" else None,
    )


def session_for(task_id: str) -> SandboxSession:
    """Return the session registered under `task_id`, or a new one that is registered from now on.

    A new one lives on the default loop. `session_defaults` or PYTEST_HERMES_SANDBOX names its backend, `local` by
    default; its sandbox starts at first use and is closed by `ToolContext.cleanup()`, or else at exit. Raises
    UsageError for a backend that does not exist.
    """
    global _watching
    with _lock:
        if task_id in _slots:
            return _slots[task_id]
        defaults = _DEFAULTS.get() or SessionDefaults(_of_environment())
        sandboxes = defaults.sandboxes
        sandboxes.check()
        session = SandboxSession(
            lambda: sandboxes.make(SandboxSpec(), name=task_id),
            backend=sandboxes.backend,
            terminal_timeout=defaults.terminal_timeout,
            loop=default_loop().loop,
        )
        if not _watching:
            # After the default loop's own, hence called before it.
            at_exit(_close_forgotten)
            _watching = True
        _slots[task_id] = session
        _made_here.add(task_id)
        return session


def register(task_id: str, session: SandboxSession) -> None:
    """Let `session_for(task_id)` find `session`. Raises UsageError when another one has that id."""
    with _lock:
        if _slots.setdefault(task_id, session) is not session:
            raise UsageError(f"a sandbox is already registered for task id {task_id!r}; call cleanup() first")


def release(task_id: str) -> SandboxSession | None:
    """Forget the id and return its session, which the caller closes; None when there is none."""
    with _lock:
        _made_here.discard(task_id)
        return _slots.pop(task_id, None)


def cleanup_all_environments() -> None:
    """Close the sandboxes of all sessions that `session_for` made and nobody released, for the end of an evaluation.

    Blocks the calling thread until it is done. Raises TimeoutError when it is not after 20 seconds.
    """

    async def close_all() -> None:
        await asyncio.gather(*(session.close() for session in left), return_exceptions=True)

    with _lock:
        left = [_slots.pop(task_id) for task_id in _made_here]
        _made_here.clear()
    if left:
        default_loop().submit(close_all()).result(_CLOSING)


def _close_forgotten() -> None:
    with contextlib.suppress(Exception):
        cleanup_all_environments()

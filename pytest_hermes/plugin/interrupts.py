"""Ctrl-C, SIGTERM and SIGHUP: the first ends the session in order, and those that follow do not tear that apart.

By itself, Python raises KeyboardInterrupt at each of them, wherever the program is: in the middle of a report, or of
closing what is open.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import pytest

from ..background import at_exit

#: Seconds that a session has for its end before a further Ctrl-C leaves it at once.
_PATIENCE = 10.0

_TOLD = f"hermes: the run ends and its sandboxes close; after {_PATIENCE:g} seconds, Ctrl-C leaves at once"


class Interrupts:
    """Handles the signals of a process from `install` to `restore`; registered as a plugin, it sees whether the
    session goes on all the same, because somebody's code caught the exception."""

    def __init__(self, *, tells: bool) -> None:
        """`tells`: say on stderr what a second Ctrl-C does."""
        self._tells = tells
        self._hurried: list[Callable[[], object]] = []
        #: When the first signal came, by the monotonic clock.
        self._came: float | None = None
        self._before: dict[int, Any] = {}

    def on_second(self, hurry: Callable[[], object]) -> None:
        """Call `hurry` when a second signal comes. It runs between any two steps of the program: it may set a flag."""
        self._hurried.append(hurry)

    def install(self) -> None:
        """Handle the signals from now on, unless this is no main thread, which alone may say so."""
        if threading.current_thread() is not threading.main_thread():
            return
        # Somebody who ignores Ctrl-C, or handles it, has a reason.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._handle)
        self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._handle)
        # Under `nohup` a terminal that hangs up ends nothing.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._handle)

    def restore(self) -> None:
        """Let others handle the signals again; after an interrupt, not while the program exits."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._came is not None and signal.SIGINT in self._before:
            # Nobody would catch the exception there. While threads are joined, there must be a way out.
            at_exit(lambda: signal.signal(signal.SIGINT, self._handle))
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
        self._before.clear()

    def session_continues(self) -> None:
        """Let the next signal interrupt again: the exception of the last one did not end the session."""
        self._came = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self) -> None:
        self.session_continues()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._came is None:
            self._came = now
            raise KeyboardInterrupt(*(() if number == signal.SIGINT else (signal.Signals(number).name,)))
        if number == signal.SIGINT and now - self._came > _PATIENCE:
            # Its sandboxes end with the process, and its results are written.
            os._exit(pytest.ExitCode.INTERRUPTED)
        for hurry in self._hurried:
            hurry()
        if self._tells:
            self._tells = False
            with suppress(OSError):
                os.write(2, f"\n{_TOLD}\n".encode())


@contextmanager
def interruptible(config: pytest.Config) -> Iterator[None]:
    """Let an interrupt leave this without the place that it came at, unless the user asked for whole tracebacks.

    pytest looks for the source of every step of it. That takes a while, and fails at steps that belong to no line.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        # pytest's own reasons to end a session are of subclasses.
        if type(interrupt) is not KeyboardInterrupt or config.getoption("fulltrace", False):
            raise
        raise KeyboardInterrupt(*interrupt.args) from None


@contextmanager
def ctrl_c_deferred() -> Iterator[None]:
    """Let Ctrl-C wait until this is over, and in processes that are started here until they handle it themselves.

    A terminal sends it to them too, and an interpreter that is starting has nothing better to do with it than to show
    where it was.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_INTERRUPTS: pytest.StashKey[Interrupts] = pytest.StashKey()


def interrupts_of(config: pytest.Config) -> Interrupts:
    """Return what handles the signals of a session, which it does from the first call on until pytest is done."""
    if _INTERRUPTS not in config.stash:
        is_worker = hasattr(config, "workerinput")
        interrupts = config.stash[_INTERRUPTS] = Interrupts(tells=not is_worker)
        interrupts.install()
        config.pluginmanager.register(interrupts, "hermes-interrupts")
        if is_worker:  # whose process is there for nothing else
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        else:
            config.add_cleanup(interrupts.restore)
    return config.stash[_INTERRUPTS]

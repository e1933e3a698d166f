"""Ctrl-C, SIGTERM and SIGHUP for an environment: it closes what is open, also where its own code blocks the loop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from ..rollout.watchdog import Overrun

if TYPE_CHECKING:
    from .rollouts import RolloutRunner

log = logging.getLogger("pytest_hermes.atropos")

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: Seconds that code which blocks the loop has to end after a signal; then the process does.
_PATIENCE = 5.0


@contextmanager
def ended_by_signals(runner: RolloutRunner) -> Iterator[list[int]]:
    """Let a signal cancel the running task; yields the list of those that came.

    Code that blocks the loop gets an exception. Where that does not reach it, in a call into C, records of what is in
    flight are written and the process ends; its sandboxes end with it.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        name = signal.Signals(number).name
        if len(received) == 1:
            log.warning("%s: closing sandboxes and connections", name)
            task.cancel()
        else:  # cancelled again, it would close nothing
            log.warning("%s: still closing; the next one ends the process at once", name)
            loop.remove_signal_handler(number)

    def end_what_blocks(number: int, frame: FrameType | None) -> None:
        """Raise in code that blocks the loop, on which `stop` is never called before that code has ended."""
        if runner.watchdog is not None and runner.watchdog.blocked is not None:
            runner.watchdog.admit_no_more()
            raise Overrun

    for number in _NUMBERS:
        if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # as under `nohup`
        loop.add_signal_handler(number, stop, number)
        # The loop hears of signals by a file descriptor all the same.
        signal.signal(number, end_what_blocks)
    with _heard_by_a_thread(runner):
        yield received


@contextmanager
def _heard_by_a_thread(runner: RolloutRunner) -> Iterator[None]:
    """Read the file descriptor that tells of signals in a thread, which hands them on to the loop's own.

    Handlers in Python run in the main thread only, and there not before a call into C returns.
    """
    ours, written = socket.socketpair()
    written.setblocking(False)
    loops = signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        while numbers := ours.recv(64):
            with suppress(OSError):  # the loop has closed
                os.write(loops, numbers)
            if set(numbers) & set(_NUMBERS):
                _end_if_blocked(runner, numbers[0])

    thread = threading.Thread(target=listen, name="hermes-signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(loops)
        written.close()
        thread.join(1)
        ours.close()


def _end_if_blocked(runner: RolloutRunner, number: int) -> None:
    end = time.monotonic() + _PATIENCE
    while runner.watchdog is not None and (blocked := runner.watchdog.blocked) is not None:
        if time.monotonic() > end:
            why = f"the run ended while {blocked} blocked the event loop"
            runner.abandon(why)
            log.error("%s: %s; its sandboxes end with it", signal.Signals(number).name, why)
            os._exit(128 + number)
        time.sleep(0.1)

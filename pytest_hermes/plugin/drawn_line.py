"""Keeps the live line on the terminal while pytest is where it calls no hook: in a test, or waiting for its workers."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .live_line import LiveLine

#: Seconds between two looks at the run.
_LOOK = 1.0


class DrawnLine:
    """A plugin that draws from a thread of its own, and takes the line away before pytest writes."""

    def __init__(self, line: LiveLine) -> None:
        self._line = line
        #: Whether there is anything to draw at the moment.
        self.active = True
        #: Held by who writes to the terminal: the main thread by way of pytest, or the one that draws.
        self._writing = threading.RLock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_drawing, name="hermes-live-line", daemon=True)
        self._thread.start()

    def _keep_drawing(self) -> None:
        while not self._over.wait(_LOOK):
            with self._writing:
                self._show()

    def _show(self) -> None:
        if self.active and not self._over.is_set():
            self._line.show()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Let nobody draw in this block; the line is away."""
        with self._writing:
            self._line.hide()
            yield

    def stop(self) -> None:
        """Take the line away for good."""
        self._over.set()
        self._thread.join()
        self._line.hide()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None, object, object]:
        with self.hidden():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        with self.hidden():
            yield
            if report.when != "setup":
                self._show()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logfinish(self) -> Generator[None, object, object]:
        with self.hidden():
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self.stop()

"""Says what a session waits for before it begins: nobody should look at an empty terminal while a dataset loads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest

#: Seconds of silence.
AFTER = 2.0


@contextmanager
def announced(config: pytest.Config, what: str) -> Iterator[None]:
    """Write a line to stderr, past pytest's capture, when this takes long."""

    def say() -> None:
        capture = config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
            print(f"hermes: loading {what} …", file=sys.stderr, flush=True)

    timer = threading.Timer(AFTER, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()

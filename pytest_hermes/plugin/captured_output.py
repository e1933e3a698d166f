"""Keeps what rollouts print and log out of the items that happen to run meanwhile, for their own items' reports."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TextIO

import pytest

if TYPE_CHECKING:
    from ..rollout.attempt import Rollout


@contextmanager
def captured_apart(config: pytest.Config) -> Iterator[None]:
    """While this is open, text of rollouts goes to their own `captured`."""
    from ..rollout.captured_output import DivertedStream

    with ExitStack() as stack:
        for name, stream in _streams(config):
            diverted = DivertedStream(stream, name)
            if diverted.divert():
                stack.callback(diverted.restore)
        stack.enter_context(_separate_logs(config))
        yield


def _streams(config: pytest.Config) -> Iterator[tuple[str, TextIO]]:
    """Yield each stream that `print` may meet: the process's own, and those pytest captures with while an item runs."""
    seen = set()

    def current() -> Iterator[tuple[str, TextIO]]:
        for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
            if stream is not None and id(stream) not in seen:
                seen.add(id(stream))
                yield name, stream

    yield from current()
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None and hasattr(capture, "resume_global_capture"):
        capture.resume_global_capture()
        found = list(current())
        capture.suspend_global_capture(in_=False)
        yield from found


@contextmanager
def _separate_logs(config: pytest.Config) -> Iterator[None]:
    from ..rollout.captured_output import RolloutLogHandler, of_no_rollout

    handler = RolloutLogHandler()
    plugin = config.pluginmanager.getplugin("logging-plugin")
    if plugin is not None:
        handler.setFormatter(getattr(plugin, "formatter", None))
    # What pytest puts into reports; its live log and log file show everything, as it comes.
    others = [getattr(plugin, name, None) for name in ("caplog_handler", "report_handler")]
    root = logging.getLogger()
    root.addHandler(handler)
    for other in others:
        if other is not None:
            other.addFilter(of_no_rollout)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for other in others:
            if other is not None:
                other.removeFilter(of_no_rollout)


def add_sections(item: pytest.Item, rollout: Rollout) -> None:
    """Add what the rollout printed and logged to its item's report."""
    for name, text in rollout.captured.texts().items():
        item.add_report_section("rollout", name, text)

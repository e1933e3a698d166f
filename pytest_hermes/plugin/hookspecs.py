"""Hooks that a conftest.py or another plugin may implement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..rollout.attempt import Rollout
    from ..rollout.record import AttemptRecord


@pytest.hookspec
def pytest_hermes_rollout(item: pytest.Item, rollout: Rollout) -> None:
    """Called for each finished attempt, before its item passes, fails or errs.

    The sandbox is still open only for items that asked for `sandbox` or `tool_context`, and with `--pdb`.
    """


@pytest.hookspec
def pytest_hermes_summary(config: pytest.Config, records: Sequence[AttemptRecord]) -> str | list[str] | None:
    """Return lines to add to the summary of a run. `records` come without their conversations.

    Example, in a conftest.py::

        def pytest_hermes_summary(config, records):
            return f"longest   {max(record.seconds.total for record in records):.0f} s"
    """

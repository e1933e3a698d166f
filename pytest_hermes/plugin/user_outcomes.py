"""What pytest's own outcomes mean when a benchmark's code raises them."""

from __future__ import annotations

import linecache
import traceback
import unittest
from pathlib import Path

import pytest

from ..core.one_line import text_of
from ..core.source import raised_at
from ..rollout.boundary import Meaning

_PACKAGE = Path(__file__).parents[1]


def meaning_of(error: BaseException) -> Meaning | None:
    """Return what an exception of a benchmark's code stands for, None for an error.

    `pytest.skip` and `pytest.importorskip` skip the attempt, `pytest.fail` and a failing `assert` in `compute_reward`
    give a reward of 0, `pytest.exit` ends the run.
    """
    match error:
        case pytest.skip.Exception() | unittest.SkipTest():
            return Meaning("skip", text_of(error) or "skipped by the benchmark")
        case pytest.exit.Exception():
            return Meaning("stop", text_of(error))
        case pytest.fail.Exception():
            return Meaning("fail", text_of(error) or "pytest.fail()")
        case AssertionError() if not _is_the_harness_s(error):
            return Meaning("fail", _assertion(error))
    return None


def _is_the_harness_s(error: BaseException) -> bool:
    """Whether an assertion of this package failed below the benchmark's code: that is no verdict on an agent."""
    file = Path(_raised_in(error).filename)
    return file.is_relative_to(_PACKAGE) and not file.is_relative_to(_PACKAGE / "benchmarks")


def _assertion(error: AssertionError) -> str:
    """Return an assertion's message; without one, the line that stands in the file."""
    frame = _raised_in(error)
    line = linecache.getline(frame.filename, frame.lineno or 0).strip()
    message = text_of(error).strip() or line or "an assertion failed"
    return f"{message} ({raised_at(error)})"


def _raised_in(error: BaseException) -> traceback.FrameSummary:
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1] if frames else traceback.FrameSummary("", 0, "")

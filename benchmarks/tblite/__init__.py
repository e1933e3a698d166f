"""TBLite: 100 terminal tasks of calibrated difficulty, a faster stand-in for TerminalBench 2."""

from __future__ import annotations

from ..terminalbench_2 import TerminalBench2


class TBLite(TerminalBench2):
    """100 terminal tasks of calibrated difficulty, each in a container of its own."""

    name = "tblite"
    default_config = "default.yaml"
    agent_seconds = 1200
    verifier_seconds = 600

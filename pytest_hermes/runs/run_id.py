"""What runs are called, and where their results go unless somebody says otherwise."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from pathlib import Path

#: Results of runs that name no folder, relative to where the run was started.
RUNS_DIR = Path("hermes-runs")


def new_run_id(benchmarks: list[str], model: str) -> str:
    """Return a name that sorts by time and tells runs apart, e.g. `20261121-035200-terminal_test-oracle-3f2a`."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    words = "-".join([*benchmarks[:3], model])
    readable = re.sub(r"[^A-Za-z0-9_.]+", "-", words).strip("-")[:60]
    return f"{stamp}-{readable}-{secrets.token_hex(2)}"

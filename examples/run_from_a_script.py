"""Runs the first tasks of a benchmark from a script, without pytest.

    python examples/run_from_a_script.py [MODEL]

MODEL is `oracle` by default, which plays the reference solutions. Another one needs an endpoint: set
PYTEST_HERMES_API_KEY, or OPENAI_BASE_URL and OPENAI_API_KEY. The records are in `hermes-runs/`, as pytest's are.
"""

from __future__ import annotations

import asyncio
import sys

from pytest_hermes import UsageError
from pytest_hermes.runs import Options, Run, load


async def main(model: str) -> None:
    plan = await load(Options(bench=["terminal_test"], model=model, limit=4, concurrency=2))
    async with Run(plan) as run:
        async for rollout in run:
            record = rollout.record
            print(f"{record.task:<20} {record.status:<8} reward {record.reward}, {record.turns_used} turns")
        print(f"records: {run.results_path}")


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "oracle"))
    except UsageError as error:
        sys.exit(f"error: {error}")

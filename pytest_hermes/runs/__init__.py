"""A run: what it consists of, its folder, its records, and how it goes on.

A script drives one without pytest::

    plan = await load(Options(bench=["terminal_test"], model="oracle"))
    async with Run(plan) as run:
        async for rollout in run:
            print(rollout.record.task, rollout.record.reward)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from ..config.options import Options as Options
    from .loading import load as load
    from .plan import RunPlan as RunPlan
    from .run import Run as Run

_HOMES = {"Options": "..config.options", "Run": ".run", "RunPlan": ".plan", "load": ".loading"}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)  # pyright: ignore[reportUnsupportedDunderAll]

"""Which tasks would not run, and why, as far as that can be told without running anything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.one_line import first_line, shown
from ..errors import UsageError
from ..rollout.boundary import Classify, Ending, RunEnded, ending_of, no_meaning
from ..rollout.limits import attempt_limits
from ..rollout.plan import PlannedTask
from ..rollout.sessions import sandbox_choice
from ..rollout.user_code import BenchmarkFault, UserCode
from ..task import SandboxSpec
from .plan import LoadedBenchmark

#: Tasks that are looked at together: each may unpack an archive.
_AT_ONCE = 8


@dataclass(frozen=True)
class Forecast:
    """What is known beforehand about the attempts of a benchmark."""

    #: By task, how those would end that would not get as far as their sandbox: `skipped: …` or `error (dataset): …`.
    endings: Mapping[str, str]
    #: Why the sandbox could not be asked what it can give; None when it could.
    unasked: str | None = None


async def forecast(loaded: LoadedBenchmark, classify: Classify = no_meaning) -> Forecast:
    """Return what would keep tasks from running: what their benchmark, their model and a validation say of them, and
    needs that the sandbox cannot meet.

    What only a started sandbox can tell is not known: that an image cannot be had, say. `classify` is the door's.
    """
    return await _Forecaster(loaded, classify).all()


class _Forecaster:
    def __init__(self, loaded: LoadedBenchmark, classify: Classify) -> None:
        self._loaded = loaded
        self._classify = classify
        self._sandboxes = sandbox_choice(loaded.config.env)
        self._unasked: str | None = None
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def all(self) -> Forecast:
        tasks = self._loaded.tasks
        found = await asyncio.gather(*map(self._ending, tasks))
        endings = {task.task.id: ending for task, ending in zip(tasks, found, strict=True) if ending is not None}
        return Forecast(endings, self._unasked)

    async def _ending(self, planned: PlannedTask) -> str | None:
        task = planned.task
        if (reason := self._loaded.modes.unsolvable.get(task.id)) is not None:
            return f"skipped: {reason}"
        async with self._turns:
            try:
                await self._check_sandbox(await self._spec(planned), task.id)
                self._loaded.source.for_task(task)
            except Exception as error:  # of a sandbox of the user's own, say
                return _in_words(ending_of(error, self._classify))
        return None

    async def _spec(self, planned: PlannedTask) -> SandboxSpec:
        benchmark = planned.benchmark
        seconds = attempt_limits(benchmark, self._loaded.config.env, planned.task, None).verifier_seconds
        spec: Any = await UserCode(planned.task.id, None).call(
            "setup", benchmark.sandbox, planned.item, seconds=seconds
        )
        if not isinstance(spec, SandboxSpec):
            raise BenchmarkFault(f"sandbox returned {shown(spec)}; it must return a SandboxSpec", kind="setup")
        return spec

    async def _check_sandbox(self, spec: SandboxSpec, name: str) -> None:
        try:
            check = getattr(self._sandboxes.make(spec, name=name), "check_needs", None)
            if check is not None and self._unasked is None:
                await check()
        except UsageError as error:  # there is no engine, say
            self._unasked = str(error)


def _in_words(ending: Ending | RunEnded) -> str:
    if isinstance(ending, RunEnded):
        return f"end of the run: {first_line(ending.message)}"
    if ending.error is not None:
        return f"error ({ending.error.kind}): {first_line(ending.error.message)}"
    return f"{ending.status}: {first_line(ending.reason or '')}"

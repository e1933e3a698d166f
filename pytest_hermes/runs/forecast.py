"""Which tasks would not run, and why, as far as that can be told without running anything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ..config.settings import Config
from ..core.one_line import first_line
from ..errors import HermesError, UsageError
from ..models.builtin import BUILTIN
from ..rollout.boundary import Classify, Ending, ending_of, no_meaning
from ..rollout.limits import attempt_limits
from ..rollout.plan import PlannedTask
from ..rollout.sessions import sandbox_choice
from ..rollout.user_code import BenchmarkFault, UserCode
from ..task import SandboxSpec

#: Tasks that are looked at together: each may unpack an archive.
_AT_ONCE = 8


@dataclass(frozen=True)
class Forecast:
    """How the attempts of the tasks would end that would not get to their agent's first step."""

    #: By the task's id: `skipped: the task needs a GPU, …`, or the kind of an error and its message.
    endings: dict[str, str]
    #: Why the sandbox could not be asked what it can give; None when it was.
    unasked: str | None = None


async def forecast(
    tasks: Sequence[PlannedTask], config: Config, model: str | None, *, classify: Classify = no_meaning
) -> Forecast:
    """Return what keeps tasks of one benchmark from running: whatever `Benchmark.sandbox` says, the needs that the
    sandbox cannot meet, and, of a built-in `model`, that there is nothing for it to do.

    What only a started sandbox can tell is missing: an image that cannot be had, or is built for another machine.
    """
    turns = asyncio.Semaphore(_AT_ONCE)
    choice, unasked = sandbox_choice(config.env), []

    async def why_not(planned: PlannedTask) -> str | None:
        async with turns:
            try:
                spec = await _spec(planned, config)
                try:
                    check = getattr(choice.make(spec, name=planned.task.id), "check_needs", None)
                    if check is not None and not unasked:
                        await check()
                except UsageError as error:  # no engine, say
                    unasked.append(str(error))
                if model in BUILTIN:
                    BUILTIN[model]().for_task(planned.task)
            except HermesError as error:
                return _described(ending_of(error, classify))
            return None

    whys = await asyncio.gather(*map(why_not, tasks))
    endings = {planned.task.id: why for planned, why in zip(tasks, whys, strict=True) if why is not None}
    return Forecast(endings, unasked[0] if unasked else None)


async def _spec(planned: PlannedTask, config: Config) -> SandboxSpec:
    limits = attempt_limits(planned.benchmark, config.env, planned.task, None)
    call = UserCode(planned.task.id, None).call
    spec = await call("setup", planned.benchmark.sandbox, planned.item, seconds=limits.verifier_seconds)
    if not isinstance(spec, SandboxSpec):
        raise BenchmarkFault("sandbox returned no SandboxSpec", kind="setup")
    return spec

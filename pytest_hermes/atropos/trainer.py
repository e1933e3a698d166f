"""An environment's side towards the trainer: registering, following how far that is, and sending it groups."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ..errors import HermesError, InfrastructureError, UsageError
from ..report.numbers import counted
from .ending import RunFailed
from .ledger_file import State
from .run_api import RunApi
from .scored_group import as_sent, further_segments, why_not

log = logging.getLogger("pytest_hermes.atropos")

#: Groups that may be dropped one after the other before a run ends, and why others are: since a model always or never
#: succeeds, or since rollouts failed, which are counted by themselves.
DROPS_IN_A_ROW = 8
_HARMLESS = ("with equal scores", "short")

#: Seconds that a group on its way to the trainer has when it is cancelled.
_ON_ITS_WAY = 5

#: Seconds between two lines that say how a run stands.
_REMINDER = 60

#: Tries, one a second, between two lines that say what is waited for.
_TRIES = 60


class TrainerLink:
    """What a trainer is asked and told, over its run-api.

    `note` is called with what becomes of a group: before it is sent, once it is taken, or when it is dropped. `stop`
    ends the run when too much is dropped.
    """

    def __init__(self, url: str, *, note: Callable[[State], None], stop: Callable[[HermesError], None]) -> None:
        self.api = RunApi(url)
        #: The environment's number at the run-api, while that knows it.
        self.env_id: int | None = None
        #: Groups that went to the trainer.
        self.groups_sent = 0
        #: The same, since metrics were last logged.
        self.sent_since_logged = 0
        #: Why groups did not, with their number.
        self.groups_dropped: Counter[str] = Counter()
        self._note = note
        self._stop = stop
        self._drops_in_a_row = 0
        self._scores: list[float] = []
        self._told_at: float | None = None

    # What the run-api is asked.

    async def register(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Register an environment and return what the run-api says of it, once there is a trainer."""
        answer = await self._once_there_is_a_trainer(
            lambda: self.api.post("/register-env", request), lambda answer: answer["status"] == "success"
        )
        self.env_id = answer["env_id"]
        return answer

    async def wandb_info(self) -> dict[str, Any]:
        """Return the trainer's `project` and `group` in wandb, once there is a trainer."""
        return await self._once_there_is_a_trainer(
            lambda: self.api.get("/wandb_info"), lambda answer: answer["project"] is not None
        )

    async def _once_there_is_a_trainer(
        self, ask: Callable[[], Awaitable[dict[str, Any]]], ready: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """Ask, once a second, until the answer is one that there is with a trainer, and return it."""
        for tried in itertools.count():
            answer = await ask()
            if ready(answer):
                break
            if tried % _TRIES == 0:
                log.info("waiting for a trainer at %s", self.api.url)
            await asyncio.sleep(1)
        return answer

    async def batch(self, size: int, group_size: int) -> tuple[int, int | None]:
        """Return the rollouts of a batch and the tokens that a sequence stays below, None when the trainer says none.

        `size` is the batch's where the trainer does not say. Raises UsageError when nobody does, or groups of
        `group_size` are larger.
        """
        answer = await self.api.get("/info")
        size = size if answer["batch_size"] == -1 else answer["batch_size"]
        if size == -1:
            raise UsageError("neither the trainer nor env.batch_size sets the number of rollouts in a batch")
        if group_size > size:
            raise UsageError(f"env.group_size is {group_size}, more than the trainer's batch of {size}")
        return size, None if answer["max_token_len"] == -1 else answer["max_token_len"]

    async def status(self, step: int) -> dict[str, Any]:
        """Return how far the trainer is, after `step`. Raises RunFailed when the run-api is gone or another one."""
        try:
            answer: dict[str, Any] = await self.api.get("/status-env", {"env_id": self.env_id})
        except InfrastructureError as error:
            if not await self.api.answers():
                raise RunFailed(str(error)) from None
            raise self._started_anew(str(error)) from None
        if (now := answer["current_step"]) < step:
            raise self._started_anew(f"step {now} after step {step}")
        return answer

    def _started_anew(self, sign: str) -> RunFailed:
        """Return what ends a run whose server does not know it any more, and may know another one by its number."""
        self.env_id = None
        return RunFailed(
            f"the run-api at {self.api.url} no longer knows this environment, most likely because it was restarted "
            f"({sign}): start the trainer, then run serve again"
        )

    async def disconnect(self) -> None:
        """Let the run-api forget the environment, if it knows it."""
        if self.env_id is not None:
            await self.api.disconnect(self.env_id)

    # What the trainer is sent.

    def checked(
        self, group: Mapping[str, Any], *, size: int | None, below: int | None, scores_differ: bool
    ) -> list[Mapping[str, Any]]:
        """Return the group and, for a trainer, the groups of its further segments; nothing, which is said and counted,
        if one of them is not to be used. `why_not` takes the same arguments."""
        problem = partial(why_not, size=size, below=below, scores_differ=scores_differ)
        parts = [group]
        dropped = problem(group)
        if dropped is None and size is not None:
            parts += further_segments(group)
            dropped = next(filter(None, map(problem, parts[1:])), None)
        if dropped is None:
            return parts
        self.drop(*dropped)
        return []

    def drop(self, kind: str, details: str) -> None:
        """Say, count and note that a group is not sent."""
        self._tell_dropped(kind, details)
        self._note("dropped")

    def _tell_dropped(self, kind: str, details: str) -> None:
        self.groups_dropped[kind] += 1
        log.warning("group dropped, %s: %s", kind, details)
        if kind in _HARMLESS:
            return
        self._drops_in_a_row += 1
        if self._drops_in_a_row >= DROPS_IN_A_ROW:
            self._stop(
                RunFailed(f"the last {self._drops_in_a_row} groups were all dropped; the last one {kind}: {details}")
            )

    async def send(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Send a group, with the groups of its further segments.

        Who cancels it, as Atropos does when the trainer has enough, waits for what is on its way.
        """
        sending = asyncio.ensure_future(self._send(parts))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.wait({sending}, timeout=_ON_ITS_WAY)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            raise

    async def _send(self, parts: Sequence[Mapping[str, Any]]) -> None:
        bodies = [{**as_sent(part), "env_id": self.env_id} for part in parts]
        path, body = ("/scored_data_list", bodies) if len(bodies) > 1 else ("/scored_data", bodies[0])
        self._note("sending")
        try:
            await self.api.post(path, body, once=True)
        except InfrastructureError as error:
            self._tell_dropped("not taken", str(error))
            return
        self._note("taken")
        self.groups_sent += len(bodies)
        self.sent_since_logged += len(bodies)
        self._drops_in_a_row = 0
        self._tell_progress(parts[0]["scores"])

    def _tell_progress(self, scores: Sequence[float]) -> None:
        """Say how the run stands, once a minute at most: a trainer's steps may take long."""
        self._scores += scores
        now = time.monotonic()
        if self._told_at is None or now - self._told_at >= _REMINDER:
            mean = math.fsum(self._scores) / len(self._scores)
            log.info("%s sent, mean reward %.3f", counted(self.groups_sent, "group"), mean)
            self._told_at = now
            self._scores.clear()

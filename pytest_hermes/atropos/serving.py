"""An environment's side towards the trainer: registering, and following how far that is."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

from ..errors import InfrastructureError, UsageError
from . import wandb_use
from .sending import RunFailed, SendingEnv
from .sent_groups import Registration

log = logging.getLogger("pytest_hermes.atropos")

#: Times, about ten a second, that there may be nothing to do for anybody before a run ends.
_IDLE = 50

#: Tries, one a second, between two lines that say what is waited for.
_REMINDER = 60

#: What a trainer is told of the longest sequence of an environment that sets no `max_token_length`.
_DEFAULT_LENGTH = 2048


class ServingEnv(SendingEnv):
    """Atropos's environment with a server that is spoken to once."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.eval_runner: asyncio.Task[None] | None = None
        self._idle = 0

    # What Atropos's loop asks of the server.

    async def register_env(self) -> None:
        """Register with the server; wait for a trainer if there is none yet."""
        request = {
            "max_token_length": self.config.max_token_length or _DEFAULT_LENGTH,
            "desired_name": self.config.wandb_name or self.name or type(self).__name__,
            "weight": self.config.inference_weight,
            "min_batch_allocation": self.config.min_batch_allocation,
            "group_size": self.config.group_size,
        }
        said = await self._once_there_is_a_trainer(
            "POST", "/register-env", request, lambda said: said["status"] == "success"
        )
        self.env_id = said["env_id"]
        self.wandb_prepend = said["wandb_name"]
        self.curr_step = said["starting_step"]
        await self._disconnect_the_one_before()
        self.checkpoint_dir = said["checkpoint_dir"]
        self.checkpoint_interval = said["checkpoint_interval"]
        if self.config.total_steps == -1:
            self.config.total_steps = said["num_steps"]
            if self.config.total_steps == -1:
                raise UsageError("neither the trainer nor env.total_steps says how many steps there are")
        if self.curr_step > 0:
            self.load_checkpoint()
        log.info("registered as %s (env_id %s) at step %s", self.wandb_prepend, self.env_id, self.curr_step)

    async def _disconnect_the_one_before(self) -> None:
        """Let the run-api forget the environment of a run that was killed, where the notes of what it sent tell it.

        It would have its share of the batches otherwise, which a trainer waits for (`min_batch_allocation`).
        """
        if self.sent_groups is None:
            return
        now = Registration(self.api.url, self.env_id, self.wandb_prepend, self.curr_step)
        try:
            earlier = self.sent_groups.register(now)
        except OSError as error:
            raise self._cannot_note(self.sent_groups, error) from error
        if earlier is not None:
            await self.api.disconnect(earlier.env_id)

    async def _once_there_is_a_trainer(self, method: str, path: str, body: Any, ready: Callable[[Any], bool]) -> Any:
        """Ask, once a second, until the answer is one that there is with a trainer, and return it."""
        for tried in itertools.count():
            said = await self.api.ask(method, path, body)
            if ready(said):
                break
            if tried % _REMINDER == 0:
                log.info("waiting for a trainer at %s", self.api.url)
            await asyncio.sleep(1)
        return said

    async def get_server_info(self) -> None:
        said = await self.api.get("/info")
        if said["batch_size"] != -1:
            self.config.batch_size = said["batch_size"]
        if said["max_token_len"] != -1:
            self.max_token_len = said["max_token_len"]
        if self.config.batch_size == -1:
            raise UsageError("neither the trainer nor env.batch_size says how many rollouts a batch has")
        if self.config.group_size > self.config.batch_size:
            raise UsageError(
                f"env.group_size is {self.config.group_size}, more than the trainer's batch of {self.config.batch_size}"
            )

    async def get_status(self) -> None:
        try:
            self.status_dict = await self.api.get("/status-env", {"env_id": self.env_id})
        except InfrastructureError as error:
            if not await self.api.answers():
                raise RunFailed(str(error)) from None
            raise self._started_anew(str(error)) from None
        if (step := self.status_dict["current_step"]) < self.curr_step:
            raise self._started_anew(f"step {step} after step {self.curr_step}")
        workers = self.config.max_num_workers
        if workers == -1:
            workers = self.config.max_num_workers_per_node * len(self.server.servers)
        self.max_num_workers = workers
        await self.server.update_weight(self.status_dict["env_weight"])

    def _started_anew(self, sign: str) -> RunFailed:
        """Return what ends a run whose server does not know it any more, and may know another one by its number."""
        del self.env_id
        return RunFailed(
            f"the run-api at {self.api.url} does not know this environment any more, most likely since it was started "
            f"anew ({sign}): start the trainer, then serve again"
        )

    async def add_train_workers(self) -> None:
        await super().add_train_workers()
        evaluating = self.eval_runner is not None and not self.eval_runner.done()
        if self.workers or self.backlog or evaluating or self.status_dict["queue_size"] > 0:
            self._idle = 0
            return
        self._idle += 1
        if self._idle >= _IDLE:
            self.stop(RunFailed("get_next_item() gives nothing more to work on, and the trainer is not done"))

    async def setup_wandb(self) -> None:
        if not wandb_use.wanted(self.config):
            return
        said = await self._once_there_is_a_trainer("GET", "/wandb_info", None, lambda said: said["project"] is not None)
        self.wandb_project, self.wandb_group = said["project"], said["group"]
        wandb_use.start(self.config, name=self.config.wandb_name, project=said["project"], group=said["group"])

    async def env_step_checks(self) -> None:
        """Look whether the trainer went on, and do what is due: an evaluation, a checkpoint, metrics.

        Atropos's own misses what is due each step, and whatever lies between two steps that are taken at once.
        """
        before, now = self.curr_step, self.status_dict["current_step"]
        if now == before:
            return
        self.curr_step = now
        if _is_due(self.config.steps_per_eval, before, now):
            self._start_evaluation()
        if _is_due(self.checkpoint_interval, before, now):
            self.save_checkpoint(now // self.checkpoint_interval * self.checkpoint_interval)
        log.info("step %s: %s", now, self.standing())
        if self.items_sent_this_step >= self.config.min_items_sent_before_logging:
            self.items_sent_this_step = 0
            await self.wandb_log({})

    def _start_evaluation(self) -> None:
        if self.eval_runner is not None and not self.eval_runner.done():
            log.warning("no evaluation at step %s: the one before goes on still", self.curr_step)
            return
        self.eval_runner = asyncio.create_task(self.evaluate_in_training())
        if self.config.eval_handling.value == "STOP_TRAIN":
            self.backlog.extend(running["item"] for running in self.running_items.values())
            for worker in self.workers:
                worker.cancel()
            self.workers.clear()
            self.running_items.clear()

    async def evaluate_in_training(self) -> None:
        """Call `evaluate` while a trainer goes on."""
        await self.evaluate()


def _is_due(every: int, before: int, now: int) -> bool:
    """Return whether what is done every so many steps (0 or less: never) lies between two of them."""
    return every > 0 and now // every > before // every

"""What is due in a round of Atropos's loop: an evaluation, a checkpoint, metrics, or the end for want of items."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from .ending import RunFailed
from .evaluation import run_evaluation
from .evaluation_view import EvaluationView
from .totals import in_words

if TYPE_CHECKING:
    from .base_env import HermesAgentBaseEnv

log = logging.getLogger("pytest_hermes.atropos")

#: Rounds, about ten a second, in which there may be nothing to do for anybody before a run ends.
_IDLE = 50


def is_evaluating(env: HermesAgentBaseEnv) -> bool:
    """Return whether an evaluation runs beside the training."""
    return env.eval_runner is not None and not env.eval_runner.done()


def end_if_idle(env: HermesAgentBaseEnv) -> None:
    """End the run when nothing has been worked on for a while, and the trainer waits for groups."""
    busy = env.workers or env.backlog or is_evaluating(env) or env.status_dict["queue_size"] > 0
    env.idle_rounds = 0 if busy else env.idle_rounds + 1
    if env.idle_rounds >= _IDLE:
        env.ending.stop(RunFailed("get_next_item() returns no more items, but the trainer is not done"))


async def do_what_is_due(env: HermesAgentBaseEnv, before: int, now: int) -> None:
    """Do it for all steps that the trainer took from `before` to `now`."""
    if _is_due(env.config.steps_per_eval, before, now):
        _start_evaluation(env)
    if _is_due(env.checkpoint_interval, before, now):
        env.save_checkpoint(now // env.checkpoint_interval * env.checkpoint_interval)
    log.info("step %s: %s", now, in_words(env))
    if env.trainer.sent_since_logged >= env.config.min_items_sent_before_logging:
        env.trainer.sent_since_logged = 0
        await env.wandb_log({})


def _is_due(every: int, before: int, now: int) -> bool:
    """Return whether what is done every so many steps (0 or less: never) lies between two of them."""
    return every > 0 and now // every > before // every


def _start_evaluation(env: HermesAgentBaseEnv) -> None:
    if is_evaluating(env):
        log.warning("no evaluation at step %s: the previous one is still running", env.curr_step)
        return
    env.eval_runner = asyncio.create_task(_evaluate(env))
    if env.config.eval_handling.value == "STOP_TRAIN":
        env.backlog.extend(running["item"] for running in env.running_items.values())
        for worker in env.workers:
            worker.cancel()
        env.workers.clear()
        env.running_items.clear()


async def _evaluate(env: HermesAgentBaseEnv) -> None:
    """Call `evaluate` while a trainer goes on: it changes no buffer of the training, and a failure is heard."""
    view = EvaluationView(env, env.framework)
    try:
        await run_evaluation(env, view.run(type(env).evaluate))
    except Exception as error:
        env.failed_evaluations += 1
        log.error("the evaluation at step %s failed: %s", env.curr_step, error, exc_info=error)

"""What is due when the trainer has gone on: an evaluation, a checkpoint, metrics."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from .evaluation import run_evaluation
from .evaluation_view import EvaluationView
from .standing import in_words

if TYPE_CHECKING:
    from .base_env import HermesAgentBaseEnv

log = logging.getLogger("pytest_hermes.atropos")


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
    if env.is_evaluating:
        log.warning("no evaluation at step %s: the one before goes on still", env.curr_step)
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

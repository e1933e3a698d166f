"""The three modes of an environment: serve, process, evaluate. Each is a coroutine that raises what ends it."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..report.numbers import counted, duration
from ..rollout.sessions import sandbox_choice
from ..runs.run_id import RUNS_DIR, new_run_id
from . import wandb_use
from .ending import RunFailed
from .evaluation import METRICS_FILE, run_evaluation, write_config
from .steps import is_evaluating
from .totals import in_words
from .trajectory_file import TrajectoryFile, free_path

if TYPE_CHECKING:
    from .base_env import HermesAgentBaseEnv

log = logging.getLogger("pytest_hermes.atropos")

#: Groups of `process` that may come to nothing one after the other before it ends.
_EMPTY_GROUPS = 8


async def run_mode(env: HermesAgentBaseEnv, mode: str) -> None:
    """Run an environment in a mode to its end, and close everything, whatever happens.

    Raises UsageError, RunFailed, or whatever the environment's own code raises.
    """
    env.mode = mode
    try:
        env.runner.prepare_loop()
        # An environment's own code may ask a judge outside of any rollout.
        with env.runner.judging().current():
            await {"serve": serve, "process": process, "evaluate": evaluate}[mode](env)
    finally:
        await env.close()
        wandb_use.finish()


async def _prepare(env: HermesAgentBaseEnv) -> None:
    """Say who works where, and find out what would keep all rollouts from working.

    Raises UsageError for a model without an endpoint, a sandbox or a toolset that does not exist, and FatalError.
    """
    env._resolve_tools_for_group()
    if env.config.distribution is not None:
        log.warning("env.distribution has no effect: distributions over toolsets are not supported yet")
    configs = [server.config for server in env.server.servers if hasattr(server, "config")]
    if any("health_check" in config.model_fields_set and config.health_check for config in configs):
        log.info("openai.health_check has no effect: failed requests are retried automatically")
    source = env.runner.source
    address = f" at {source.address}" if source.address else ""
    sandbox = sandbox_choice(env.config)
    sandbox.check()
    name = env.name or type(env).__name__
    log.info("%s: model %s%s, sandbox %s", name, source.name, address, sandbox.describe())
    for dialect in await source.prepare():
        log.info("token-exact requests (%s): training uses the sampled tokens", dialect)


async def serve(env: HermesAgentBaseEnv) -> None:
    """Train: get items, run them in groups, send the scored groups to the run-api until the trainer has its steps."""
    await _prepare(env)
    if env.tokenizer is None:
        raise UsageError(f"serve needs a tokenizer: {env.tokenizers.problem}")
    if env.config.sent_groups is not None:
        env.ledger.open_notes(Path(env.config.sent_groups))
    if env.config.data_path_to_save_groups is not None:
        env.trajectories = _open_trajectories(env)
    await env.trainer.api.find()
    try:
        await env.ending.until_stopped(env.env_manager())
        if is_evaluating(env):
            log.info("waiting for the evaluation at step %s to end", env.curr_step)
            await env.eval_runner
    finally:
        left = [task for task in (*env.workers, env.eval_runner) if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await env.trainer.disconnect()
    log.info("done at step %s: %s", env.curr_step, in_words(env))
    if env.failed_evaluations:
        log.error("%s failed, see above", counted(env.failed_evaluations, "evaluation"))


def _open_trajectories(env: HermesAgentBaseEnv) -> TrajectoryFile:
    """Open the file that `data_path_to_save_groups` names. Raises UsageError when that is not possible."""
    return TrajectoryFile(
        Path(env.config.data_path_to_save_groups), env.redactor, env=env.as_benchmark.name, stop=env.ending.stop
    )


async def process(env: HermesAgentBaseEnv) -> None:
    """Make data: run items in groups and write their trajectories, each group when it ends."""
    if env.config.data_path_to_save_groups is None:
        env.config.data_path_to_save_groups = f"data/{env.name or type(env).__name__}.jsonl"
    if "ensure_scores_are_not_same" not in env.config.model_fields_set:
        env.config.ensure_scores_are_not_same = False
    await _prepare(env)
    # Before anything is paid for: one that was named and is not there ends the run.
    await asyncio.to_thread(lambda: env.tokenizer)
    await env.setup()
    wanted = _groups_wanted(env)
    trajectories = env.trajectories = _open_trajectories(env)
    wandb_use.start(env.config, name=env.config.wandb_name or env.name)
    log.info(
        "%s of %s, %s at once, to %s", counted(wanted, "group"), counted(env.config.group_size, "rollout"),
        min(wanted, env.runner.groups_at_once), trajectories.path,
    )  # fmt: skip
    run = _Processing(env, wanted, trajectories)
    try:
        await env.ending.until_stopped(run.run())
        if not trajectories.lines:
            raise RunFailed(f"no trajectory was made: {run.why_nothing}")
    finally:  # what was made before a run was ended is kept as well
        if trajectories.lines:
            log.info("%s in %s", _count_in_words(trajectories.lines), trajectories.path)


def _count_in_words(trajectories: int) -> str:
    return "1 trajectory" if trajectories == 1 else f"{trajectories} trajectories"


def _groups_wanted(env: HermesAgentBaseEnv) -> int:
    """Return `total_steps`; by default a benchmark's tasks, each once."""
    tasks = getattr(env, "tasks", None)
    if isinstance(tasks, list) and tasks and "total_steps" not in env.config.model_fields_set:
        return len(tasks)
    if env.config.total_steps < 1:
        raise UsageError(f"process needs a number of groups: env.total_steps is {env.config.total_steps}")
    return int(env.config.total_steps)


class _Processing:
    def __init__(self, env: HermesAgentBaseEnv, wanted: int, trajectories: TrajectoryFile) -> None:
        self._env = env
        self._wanted = wanted
        self._trajectories = trajectories
        self._done = 0
        self._empty = 0
        self._rewards: list[float] = []
        self._started = time.time()
        self.why_nothing = "get_next_item() returned no item"

    async def run(self) -> None:
        slots = asyncio.Semaphore(self._env.runner.groups_at_once)
        try:
            async with asyncio.TaskGroup() as groups:
                for started in range(self._wanted):
                    await slots.acquire()
                    item = await self._env.get_next_item()
                    if item is None:
                        self._wanted = started
                        break
                    groups.create_task(self._group(item)).add_done_callback(lambda task: slots.release())
        except BaseExceptionGroup as failures:
            # One failure ends the others, and is what a user should read.
            raise failures.exceptions[0] from None

    async def _group(self, item: Any) -> None:
        env = self._env
        group, _ = await env.collect_trajectories(item)
        if group:
            group = await env.postprocess_histories(group)
        before = self._trajectories.lines
        if group:
            await env.handle_send_to_api(group, item, do_send_to_api=False, abort_on_any_max_length_exceeded=False)
            for one in group if isinstance(group, list) else [group]:
                self._rewards += one["scores"] if one else []
        self._done += 1
        env.curr_step = self._done
        await env.wandb_log({})
        self._tell(self._trajectories.lines - before)

    def _tell(self, written: int) -> None:
        if not written:
            self._empty += 1
            self.why_nothing = "no group produced a trajectory; see above"
            if self._empty >= _EMPTY_GROUPS and not self._rewards:
                self._env.ending.stop(RunFailed(f"none of the first {self._empty} groups produced a trajectory"))
        mean = f", mean reward {sum(self._rewards) / len(self._rewards):.3f}" if self._rewards else ""
        by_heuristic = self._env.runner.rewards_by_heuristic
        log.info(
            "%s/%s groups, %s%s%s%s (%s)",
            self._done, self._wanted, _count_in_words(self._trajectories.lines), mean,
            f", {counted(self._empty, 'group')} empty" if self._empty else "",
            f", {counted(by_heuristic, 'reward')} by the heuristic" if by_heuristic else "",
            duration(time.time() - self._started),
        )  # fmt: skip


async def evaluate(env: HermesAgentBaseEnv) -> None:
    """Measure: set up, call the environment's `evaluate`, and leave its files where they can be found."""
    if env.config.data_dir_to_save_evals is None:
        run_id = new_run_id([env.name or type(env).__name__], env.runner.source.name)
        env.config.data_dir_to_save_evals = str(RUNS_DIR / run_id)
    folder = Path(env.config.data_dir_to_save_evals)
    if (folder / "metrics.json").exists() or (folder / "results.jsonl").exists():
        folder = free_path(folder)
        env.config.data_dir_to_save_evals = str(folder)
    await _prepare(env)
    await env.setup()
    write_config(env, folder)
    wandb_use.start(env.config, name=env.config.wandb_name or env.name)
    await env.ending.until_stopped(run_evaluation(env, env.evaluate()))
    if not (folder / METRICS_FILE).exists():
        log.warning("evaluate() of %s wrote no metrics; see evaluate_log", type(env).__name__)

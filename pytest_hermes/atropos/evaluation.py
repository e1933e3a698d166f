"""An evaluation: every item once, with the agent loop and its tools; then numbers, and files to look into."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..benchmark import REWARD_RANGE
from ..errors import UsageError
from ..report.numbers import counted, duration
from ..report.statistics import estimate_mean, mean_score
from ..rewards import final_response, tools_used
from ..rollout.sessions import sandbox_choice
from ..tools.bridge import bridged
from ..tools.registry import SessionDefaults, session_defaults
from .ending import RunFailed
from .trajectory_file import free_path

if TYPE_CHECKING:
    from .base_env import HermesAgentBaseEnv
    from .benchmark_env import BenchmarkEnv

log = logging.getLogger("pytest_hermes.atropos")

CONFIG_FILE = "evaluate_config.yaml"
METRICS_FILE = "metrics.json"
SAMPLES_FILE = "samples.jsonl"

#: Fields of a sample by which its score is told apart.
_GROUPS = ("category", "difficulty")


async def run_evaluation(env: HermesAgentBaseEnv, evaluation: Coroutine[Any, Any, None]) -> None:
    """Run what `evaluate` returned, so that what it builds by task id is of the environment's sandboxes and holds up
    nobody."""
    with session_defaults(SessionDefaults(sandbox_choice(env.config), env.config.terminal_timeout)):
        await bridged(evaluation)


async def rollout_sample(env: HermesAgentBaseEnv, item: Any) -> dict[str, Any]:
    """Return one rollout of an item as a line of samples.jsonl."""
    rollout = await env.rollout(item, folder=folder_of(env))
    record, result = rollout.record, rollout.result
    return {
        "task": record.task,
        "prompt": env.format_prompt(item),
        "response": final_response(result),
        "reward": record.reward,
        "reward_range": list(record.reward_range),
        "reward_source": record.reward_source,
        "status": record.status,
        "error": record.error.model_dump() if record.error else None,
        "reason": record.reason,
        "category": record.category,
        "difficulty": record.difficulty,
        "turns_used": record.turns_used,
        "stop_reason": record.stop_reason,
        "tools_used": tools_used(result),
        "tokens": record.usage.total_tokens,
        "cost": None if record.usage.cost is None else str(record.usage.cost),
        "seconds": record.seconds.total,
        "messages": record.messages,
    }


async def evaluate_items(env: BenchmarkEnv, items: Sequence[Any]) -> dict[str, float]:
    """Run `rollout_and_score_eval` on every item and return the metrics, once they are written down.

    Raises RunFailed when not a single one was scored.
    """
    started = time.time()
    samples: list[dict[str, Any]] = []

    async def one(item: Any) -> None:
        samples.append(await env.rollout_and_score_eval(item))
        done = len(samples)
        if done == len(items) or done % max(1, len(items) // 20) == 0:
            log.info("%s", _progress(samples, len(items), time.time() - started))

    try:
        async with asyncio.TaskGroup() as tasks:
            for item in items:
                tasks.create_task(one(item))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        metrics = metrics_of(samples)
        if len(samples) < len(items):  # it was ended
            metrics["eval/unfinished"] = len(items) - len(samples)
        if samples:
            await env.evaluate_log(metrics, samples=samples, start_time=started, end_time=time.time())
    await env.wandb_log(dict(metrics))
    if not metrics.get("eval/scored"):
        causes = Counter(str(sample["error"]["message"] if sample["error"] else sample["reason"]) for sample in samples)
        raise RunFailed(f"none of the {len(samples)} rollouts could be scored: {causes.most_common(1)[0][0]}")
    return metrics


def _progress(samples: Sequence[Mapping[str, Any]], of: int, seconds: float) -> str:
    scores = [sample["reward"] for sample in samples if sample["reward"] is not None]
    errors = sum(sample["status"] == "error" for sample in samples)
    mean = f", mean reward {math.fsum(scores) / len(scores):.3f}" if scores else ""
    by_heuristic = _scorers(samples)["heuristic"]
    counts = [
        f", {counted(errors, 'error')}" if errors else "",
        f", {by_heuristic} by the heuristic" if by_heuristic else "",
    ]
    return f"{len(samples)}/{of} rollouts{mean}{''.join(counts)} ({duration(seconds)})"


def _scorers(samples: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Return how many rewards are a judge's and how many a heuristic's; an environment's own samples may not say."""
    return Counter(source for sample in samples if (source := sample.get("reward_source")) is not None)


def metrics_of(samples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the metrics of an evaluation; errors are counted, and in no mean.

    `eval/mean_reward` comes with its 95 % interval, see `estimate_mean`; there is a mean for each category and
    difficulty. Where a judge was asked, `eval/scored_by_judge` and `eval/scored_by_heuristic` say who answered.
    """
    scored = [sample for sample in samples if sample["reward"] is not None]
    metrics: dict[str, float] = {
        "eval/scored": len(scored),
        "eval/errors": sum(sample["status"] == "error" for sample in samples),
        "eval/skipped": sum(sample["status"] == "skipped" for sample in samples),
    }
    if scorers := _scorers(scored):
        metrics |= {f"eval/scored_by_{source}": scorers[source] for source in ("judge", "heuristic")}
    estimate = estimate_mean(_by_task(scored), reward_range=_reward_range(samples))
    if estimate is None:
        return metrics
    metrics["eval/mean_reward"] = estimate.mean
    metrics["eval/mean_reward_low"], metrics["eval/mean_reward_high"] = estimate.low, estimate.high
    metrics["eval/pass_rate"] = sum(sample["status"] == "passed" for sample in scored) / len(scored)
    metrics["eval/mean_turns"] = math.fsum(sample["turns_used"] for sample in scored) / len(scored)
    for field in _GROUPS:
        for name in sorted({sample[field] for sample in scored if sample[field]}):
            members = [sample for sample in scored if sample[field] == name]
            mean = mean_score(_by_task(members))
            assert mean is not None
            metrics[f"eval/{field}/{name}/mean_reward"] = mean
            metrics[f"eval/{field}/{name}/scored"] = len(members)
    return metrics


def _reward_range(samples: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return what holds the ranges of all; an environment's own samples may tell none."""
    ranges = [sample.get("reward_range") or REWARD_RANGE for sample in samples] or [REWARD_RANGE]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _by_task(samples: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    by_task: dict[str, list[float]] = {}
    for sample in samples:
        by_task.setdefault(sample["task"], []).append(sample["reward"])
    return by_task


def folder_of(env: HermesAgentBaseEnv) -> Path | None:
    """Return where the results of the evaluation that is running go: during training, each step has its own."""
    if env.config.data_dir_to_save_evals is None:
        return None
    base = Path(env.config.data_dir_to_save_evals)
    return base / f"step-{env.curr_step}" if env.mode == "serve" else base


def write_evaluation(
    env: HermesAgentBaseEnv,
    metrics: Mapping[str, Any],
    task_name: str | None = None,
    model_name: str | None = None,
    start_time: float | None = None,
    end_time: float | None = None,
    generation_parameters: Mapping[str, Any] | None = None,
    samples: Sequence[Mapping[str, Any]] | None = None,
    verbose: bool = True,
) -> None:
    """Write metrics.json, in the form of Atropos's (lighteval's skeleton), and samples.jsonl, without any key.

    Says so when there is nowhere to write to.
    """
    task_name = task_name or f"{env.name or type(env).__name__}_eval"
    started, ended = start_time or time.time(), end_time or time.time()
    if verbose:
        for name, value in metrics.items():
            log.info("%s: %s", name, f"{value:.4g}" if isinstance(value, float) else value)
    folder = folder_of(env)
    if folder is None:
        log.warning("the evaluation is not written to a file; name a folder with env.data_dir_to_save_evals")
        return
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {"max_new_tokens": env.config.max_token_length, "temperature": env.config.agent_temperature}
    content = {
        "config_general": {
            "model_name": model_name or env.runner.source.name,
            "total_evaluation_time_seconds": str(ended - started),
            "generation_parameters": {**parameters, **(generation_parameters or {})},
        },
        "results": {f"atropos|{task_name}|0": dict(metrics), "all": dict(metrics)},
    }
    path = free_path(folder / METRICS_FILE)
    path.write_text(json.dumps(env.redactor.value(content), indent=2, default=float), encoding="utf-8")
    if samples:
        lines = (json.dumps(env.redactor.value(sample), ensure_ascii=False, default=str) for sample in samples)
        text = "".join(line + "\n" for line in lines)
        free_path(folder / SAMPLES_FILE).write_text(text, encoding="utf-8", errors="replace")
    log.info("evaluation written to %s", folder)


def write_config(env: HermesAgentBaseEnv, folder: Path) -> None:
    """Write what the evaluation is configured by, in the form of a configuration file, without the key.

    Raises UsageError where nothing can be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / CONFIG_FILE).open("w", encoding="utf-8") as file:
            yaml.safe_dump(_configuration(env), file, sort_keys=False, allow_unicode=True)
    except OSError as error:
        raise UsageError(
            f"cannot write the evaluation to {folder}: {error.strerror}; see --env.data_dir_to_save_evals"
        ) from error


def _configuration(env: HermesAgentBaseEnv) -> Any:
    servers = [
        server.config.model_dump(mode="json", exclude={"api_key"})
        for server in env.server.servers
        if hasattr(server, "config")
    ]
    content = {"env": env.config.model_dump(mode="json"), "openai": servers[0] if len(servers) == 1 else servers}
    return env.redactor.value(content)

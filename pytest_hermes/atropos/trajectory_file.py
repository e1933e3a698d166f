"""Trajectories as JSON lines: one rollout a line, with its conversation, its reward and where it came from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.append import append_whole
from ..core.redact import Redactor
from ..errors import HermesError, UsageError
from .ending import RunFailed
from .scored_rollout import group_in

#: Raised by one when a field changes its meaning or goes.
SCHEMA_VERSION = 1

#: Fields of an attempt's record that a line holds as its metadata.
_METADATA = (
    "model",
    "backend",
    "image",
    "status",
    "stop_reason",
    "turns_used",
    "finished_naturally",
    "category",
    "difficulty",
    "tags",
    "tool_errors",
    "asked_again",
    "reasoning_per_turn",
    "usage",
    "reward_source",
    "judge_usage",
    "seconds",
    "started",
    "ended",
)


def free_path(path: Path) -> Path:
    """Return `path`, or with `_1`, `_2`, … at its stem when there is something: what was written once is kept."""
    number, free = 0, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}_{number}")
    return free


def trajectory_lines(group: Mapping[str, Any], *, env: str) -> Iterator[dict[str, Any]]:
    """Yield one line for each rollout of a scored group.

    `tokens`, `masks` and `inference_logprobs` have one entry a token; `token_source` says what the tokens are. `trace`
    is the whole token trace, which `TokenTrace.from_json` reads, where there is one.
    """
    made_of = group_in(group)
    source = (group.get("generation_params") or {}).get("token_source")
    rows = len(group["scores"]) - made_of.padded
    # What a subclass has made of a group may have other rows.
    rollouts = made_of.rollouts if len(made_of.rollouts) == rows else [None] * rows
    for row, rollout in enumerate(rollouts):
        record = {} if rollout is None else rollout.record.model_dump(mode="json", include={"task", *_METADATA})
        trace = None if rollout is None or rollout.trace is None else rollout.trace.to_json()
        yield {
            "schema_version": SCHEMA_VERSION,
            "env": env,
            "task": record.get("task"),
            "group": made_of.id,
            "reward": group["scores"][row],
            "messages": _row(group, "messages", row),
            "tools": list(made_of.tools),
            "token_source": source,
            "tokens": group["tokens"][row],
            "masks": group["masks"][row],
            "inference_logprobs": _row(group, "inference_logprobs", row),
            "trace": trace,
            "metadata": {name: record[name] for name in _METADATA if name in record},
        }


def _row(group: Mapping[str, Any], name: str, row: int) -> Any:
    return group[name][row] if group.get(name) is not None else None


class TrajectoryFile:
    """Appends the rollouts of whole groups of the environment `env`. `stop` ends the run when it cannot."""

    def __init__(self, path: Path, redactor: Redactor, *, env: str, stop: Callable[[HermesError], None]) -> None:
        """Make the file, under another name if there is one already. Raises UsageError when that is not possible."""
        self.path = free_path(path)
        self.lines = 0
        self._redactor = redactor
        self._env = env
        self._stop = stop
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(
                f"cannot write trajectories to {path}: {error.strerror}; see --env.data_path_to_save_groups"
            ) from error

    def save(self, group: Mapping[str, Any]) -> None:
        """Write one line for each rollout of a scored group."""
        lines = [self._redactor.value(line) for line in trajectory_lines(group, env=self._env)]
        texts = [json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in lines]
        try:
            append_whole(self._file, "".join(texts).encode("utf-8", "replace"), sync=True)
        except OSError as error:
            # Atropos's worker would tell it and go on, with a group that is neither written nor sent.
            self._stop(RunFailed(f"cannot write trajectories to {self.path}: {error.strerror}"))
        else:
            self.lines += len(lines)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

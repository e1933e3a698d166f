"""Trajectories as JSON lines: one rollout a line, with its conversation, its reward and where it came from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..append import append_whole
from ..errors import UsageError
from ..redact import Redactor

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


def trajectory_lines(
    group: Mapping[str, Any], *, env: str, tools: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield one line for each rollout of a scored group.

    `tokens`, `masks` and `inference_logprobs` have one entry a token; `token_source` says what the tokens are. `trace`
    is the whole token trace, which `TokenTrace.from_json` reads, where there is one.
    """
    records = group.get("hermes_records") or [{}] * len(group["scores"])
    source = (group.get("generation_params") or {}).get("token_source")
    traces = group.get("hermes_traces") or []
    rollouts = len(group["scores"]) - (group.get("hermes_padded") or 0)
    for row, score in enumerate(group["scores"][:rollouts]):
        record = records[row] if len(records) == len(group["scores"]) else {}
        yield {
            "schema_version": SCHEMA_VERSION,
            "env": env,
            "task": record.get("task"),
            "group": group.get("hermes_group"),
            "reward": score,
            "messages": _row(group, "messages", row),
            "tools": list(tools),
            "token_source": source,
            "tokens": group["tokens"][row],
            "masks": group["masks"][row],
            "inference_logprobs": _row(group, "inference_logprobs", row),
            "trace": traces[row] if row < len(traces) else None,
            "metadata": {name: record[name] for name in _METADATA if name in record},
        }


def _row(group: Mapping[str, Any], name: str, row: int) -> Any:
    return group[name][row] if group.get(name) is not None else None


class TrajectoryFile:
    """Appends the lines of whole groups."""

    def __init__(self, path: Path, redactor: Redactor) -> None:
        """Make the file, under another name if there is one already. Raises UsageError when that is not possible."""
        self.path = free_path(path)
        self._redactor = redactor
        self.lines = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(
                f"cannot write trajectories to {path}: {error.strerror}; see --env.data_path_to_save_groups"
            ) from error

    def append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write the lines of one group. Raises OSError when the disk does not take them whole."""
        texts = [json.dumps(self._redactor.value(line), ensure_ascii=False, default=str) for line in lines]
        data = b"".join(text.encode("utf-8", "replace") + b"\n" for text in texts)
        append_whole(self._file, data, sync=True)
        self.lines += len(lines)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

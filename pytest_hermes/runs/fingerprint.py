"""What makes two runs comparable enough to be one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import JsonValue

from ..config.unused import why_not_obeyed
from ..core.redact import Redactor
from .manifest import Fingerprint

if TYPE_CHECKING:
    from ..models.protocol import ModelSource
    from .plan import LoadedBenchmark

#: Fields that do not change what an attempt is worth, or which attempts there are.
_NOT_COMPARED = {
    "distribution", "eval_handling", "force_build", "prompt_field", "skip_tasks", "task_filter", "tool_call_parser",
    "tool_pool_size",
}  # fmt: skip
_DATASET = {"dataset_name", "dataset_split", "dataset_revision"}


def fingerprint(
    benchmarks: Iterable[LoadedBenchmark],
    judge: ModelSource | None,
    task_timeout: float | None,
    redactor: Redactor,
) -> Fingerprint:
    """Return who answers what, on which tasks, under which configuration, by names for people."""
    found: dict[str, JsonValue] = {}
    for loaded in benchmarks:
        name, revision = loaded.benchmark.name, loaded.benchmark.revision
        found[f"{name} model"] = loaded.source.name
        found[f"{name} endpoint"] = loaded.source.address
        # Said where there is none as well, or one that comes or goes would not be noticed.
        found[f"{name} judge"] = None if judge is None else judge.name
        found[f"{name} judge's endpoint"] = None if judge is None else judge.address
        found[f"{name} dataset revision"] = revision
        fields = loaded.config.env.model_dump(mode="json")
        # The same data may have several names; where it has a revision, that tells.
        left_out = _NOT_COMPARED | (_DATASET if revision else set())
        left_out |= why_not_obeyed(name, loaded.benchmark.config_fields).keys()
        found |= {
            f"{name} env.{field}": value
            for field, value in fields.items()
            if field not in left_out and f"env.{field}" not in left_out
        }
    found["--hermes-task-timeout"] = task_timeout
    return Fingerprint(found, redactor)

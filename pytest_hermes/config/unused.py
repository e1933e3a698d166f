"""What a configuration asks for and the pytest door does not carry out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from .fields import TRAINING_KEYS
from .settings import Setting

_ONLY_TRAINING = "only for training"
_REASONS = {
    "env.tool_call_parser": _ONLY_TRAINING,
    "env.eval_handling": _ONLY_TRAINING,
    "env.tool_pool_size": "tools run without threads",
    "env.distribution": "not supported yet",
}

#: Fields that only some benchmarks obey, by what the others lack.
_SPECIAL = {
    "does not load a dataset by name": ("dataset_name", "dataset_split", "dataset_revision"),
    "has a fixed field for prompts": ("prompt_field",),
    "has no verifier modes": ("verifier",),
    "does not build images": ("force_build",),
}
BENCHMARK_KEYS = tuple(f"env.{name}" for names in _SPECIAL.values() for name in names)


def why_not_obeyed(benchmark: str, obeyed: Collection[str]) -> dict[str, str]:
    """Return, by key, why a benchmark, which obeys these fields, takes no notice of one that others obey."""
    return {
        f"env.{name}": f"{benchmark} {reason}"
        for reason, names in _SPECIAL.items()
        for name in names
        if name not in obeyed
    }


def why_unused(key: str) -> str | None:
    """Return why a key has no effect on a run of tests, None when it has."""
    return _ONLY_TRAINING if key in TRAINING_KEYS else _REASONS.get(key)


def describe_unused(settings: Iterable[Setting], more: Mapping[str, str] | None = None) -> str:
    """Return the keys without effect, grouped by the reason, in the order they were given; empty if there are none.

    `more` holds reasons for keys that have no effect this time.
    """
    reasons: dict[str, list[str]] = {}
    for key in dict.fromkeys(setting.key for setting in settings):
        reason = why_unused(key) or (more or {}).get(key)
        if reason is not None:
            reasons.setdefault(reason, []).append(key)
    return "; ".join(f"{', '.join(keys)} ({reason})" for reason, keys in reasons.items())

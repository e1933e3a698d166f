"""The keys that a `task.toml` may have, so that a misspelt one can be named: Harbor ignores what it does not know.

They are those of Harbor's schema 1.4 (https://www.harborframework.com/docs/tasks, and the models of
`harbor.models.task.config` in its release 0.26), the names that earlier versions had, and the two that are read here
besides. Which of them matter here, `harbor.py` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Union

from ..core.suggest import nearest

#: By key: the keys of the table, or of each table in the list, that is its value; None: any value.
Keys = Mapping[str, Union["Keys", None]]

#: How much alike a key and what is suggested for it must be, from 0 to 1; authors may add keys of their own to
#: `[metadata]`, so that there it has to be evident.
_LIKENESS, _LIKENESS_IN_METADATA = 0.6, 0.8


def _keys(names: str, **tables: Keys) -> Keys:
    return {**dict.fromkeys(names.split()), **tables}


_ARTIFACT = _keys("source destination exclude service")
_HEALTHCHECK = _keys("command interval_sec timeout_sec start_period_sec start_interval_sec retries")
_ENVIRONMENT = _keys(
    "build_timeout_sec docker_image os cpus memory_mb storage_mb gpus gpu_types skills_dir workdir env "
    "network_mode allowed_hosts allow_internet memory storage",
    tpu=_keys("type topology"),
    healthcheck=_HEALTHCHECK,
    mcp_servers=_keys("name transport url command args headers"),
)
_AGENT = _keys("timeout_sec setup_timeout_sec user network_mode allowed_hosts")
_VERIFIER = _keys(
    "timeout_sec env user network_mode allowed_hosts environment_mode processes reward",
    environment=_ENVIRONMENT,
    collect=_keys("command service timeout_sec user"),
)
#: Those of a whole file; what `metadata` holds is up to its author.
TASK_TOML = _keys(
    "schema_version version source multi_step_reward_strategy multi_step_reward_mode metadata",
    task=_keys("name version description keywords", authors=_keys("name email")),
    agent=_AGENT,
    verifier=_VERIFIER,
    environment=_ENVIRONMENT,
    solution=_keys("env"),
    artifacts=_ARTIFACT,
    steps=_keys("name min_reward", agent=_AGENT, verifier=_VERIFIER, healthcheck=_HEALTHCHECK, artifacts=_ARTIFACT),
)
METADATA = _keys("category difficulty tags")


def unknown_keys(document: Mapping[str, Any]) -> list[str]:
    """Return a line for each key of a parsed `task.toml` that has no meaning, with the one that may be meant."""
    return [*_unknown(document, TASK_TOML, ""), *_misspelt_metadata(document.get("metadata"))]


def _unknown(table: Mapping[str, Any], known: Keys, place: str) -> Iterator[str]:
    for key, value in table.items():
        if key not in known:
            yield _line(place + key, _meant(key, known, place))
        elif (inner := known[key]) is not None:
            if isinstance(value, dict):
                yield from _unknown(value, inner, f"{place}{key}.")
            for number, entry in enumerate(value if isinstance(value, list) else ()):
                if isinstance(entry, dict):
                    yield from _unknown(entry, inner, f"{place}{key}[{number}].")


def _misspelt_metadata(metadata: object) -> Iterator[str]:
    if isinstance(metadata, dict):
        for key in metadata.keys() - METADATA.keys():
            meant = nearest(key, METADATA.keys() - metadata.keys(), _LIKENESS_IN_METADATA)
            if meant is not None:
                yield _line(f"metadata.{key}", f"metadata.{meant}")


def _meant(key: str, known: Keys, place: str) -> str | None:
    near = nearest(key, known, _LIKENESS)
    if near is not None:
        return place + near
    # It may be spelt right and have got into another table.
    return next((f"{name}.{key}" for name, inner in TASK_TOML.items() if inner is not None and key in inner), None)


def _line(key: str, meant: str | None) -> str:
    hint = f"; did you mean {meant}?" if meant is not None else ""
    key = key if key.isprintable() else repr(key)
    return f"task.toml: the key {key} is not known and has no effect{hint}"

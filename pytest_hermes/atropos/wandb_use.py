"""Weights & Biases: used where it is wanted and can work, offline as well, and never asked for a key."""

from __future__ import annotations

import logging
import netrc
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .env_config import HermesAgentEnvConfig
    from .tokenizer import EnvTokenizer

log = logging.getLogger("pytest_hermes.atropos")

_HOST = "api.wandb.ai"


def wanted(config: HermesAgentEnvConfig) -> bool:
    """Return whether to log there. Without a key, `use_wandb` is turned off, which is said to who asked for it."""
    if config.use_wandb and (why := _why_not()):
        if "use_wandb" in config.model_fields_set:
            log.warning("wandb is off: %s", why)
        config.use_wandb = False
    return bool(config.use_wandb)


def _why_not() -> str | None:
    mode = os.environ.get("WANDB_MODE", "").lower()
    if mode == "disabled" or os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1"):
        return "the environment disables it"
    if mode in ("offline", "dryrun") or os.environ.get("WANDB_API_KEY"):
        return None
    try:
        if netrc.netrc().authenticators(_HOST):
            return None
    except (OSError, netrc.NetrcParseError):
        pass
    return "it has no key; set WANDB_API_KEY, or WANDB_MODE=offline to keep the metrics on this machine"


def start(
    config: HermesAgentEnvConfig, *, name: str | None, project: str | None = None, group: str | None = None
) -> None:
    """Begin a run, with the configuration, which holds no key, if one is wanted."""
    if not wanted(config):
        return
    import wandb

    wandb.init(name=name, project=project, group=group, config=config.model_dump(mode="json"))


def add_to_table(
    table: list[list[tuple[str, float]]],
    group: Mapping[str, Any],
    config: HermesAgentEnvConfig,
    show: Callable[[Any], str],
    tokenizers: EnvTokenizer,
) -> None:
    """Keep rollouts of a scored group, with their scores, for the table of those that were made last.

    `show` makes a text of a conversation; without any, they are the texts of the tokens.
    """
    shown = config.num_rollouts_per_group_for_logging
    rows = group.get("messages")
    try:
        if not rows:
            rows, show = group["tokens"], getattr(tokenizers.find(), "decode", lambda tokens: f"{len(tokens)} tokens")
        texts = list(map(show, rows))
    except Exception as error:  # of an environment's own `format`; a table must not cost the group
        log.error("a group is missing from wandb's tables: %s: %s", type(error).__name__, error, exc_info=error)
        return
    scored = list(zip(texts, group["scores"], strict=False))
    table.append(scored if shown == -1 else scored[:shown])
    del table[: -config.num_rollouts_to_keep]


def finish() -> None:
    """End the run if there is one."""
    import sys

    wandb: Any = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        wandb.finish()

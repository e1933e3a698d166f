"""The flags of this door by the names of the other: what lies below them speaks of pytest's options."""

from __future__ import annotations

import re

from ..config.options import OPTIONS

_FLAGS = {option.flag: f"--{option.sets}" for option in OPTIONS if option.sets} | {
    "--hermes-request-timeout": "--openai.timeout",
    "--hermes-run-dir": "--env.data_dir_to_save_evals",
}
_OPTION = re.compile(r"--hermes-[a-z-]*[a-z]")


def with_flags(text: str) -> str:
    """Return a message with the flags of `hermes-env` instead of pytest's options."""
    return _OPTION.sub(lambda option: _FLAGS.get(option[0], option[0]), text)

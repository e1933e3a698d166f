"""The flags of this door by the names of the other: what lies below them speaks of pytest's options."""

from __future__ import annotations

import re

_FLAGS = {
    "--hermes-base-url": "--openai.base_url",
    "--hermes-dataset": "--env.dataset_name",
    "--hermes-dataset-revision": "--env.dataset_revision",
    "--hermes-image": "--env.terminal_image",
    "--hermes-model": "--openai.model_name",
    "--hermes-request-timeout": "--openai.timeout",
    "--hermes-run-dir": "--env.data_dir_to_save_evals",
    "--hermes-sandbox": "--env.terminal_backend",
    "--hermes-skip-task": "--env.skip_tasks",
    "--hermes-task": "--env.task_filter",
    "--hermes-verifier": "--env.verifier",
}
_OPTION = re.compile(r"--hermes-[a-z-]*[a-z]")


def with_flags(text: str) -> str:
    """Return a message with the flags of `hermes-env` in the place of pytest's options."""
    return _OPTION.sub(lambda option: _FLAGS.get(option[0], option[0]), text)

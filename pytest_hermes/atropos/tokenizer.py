"""Finds the tokenizer of an environment's model, when it is first needed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import atroposlib.envs.base as atropos_base
from atroposlib.envs.server_handling.server_baseline import APIServerConfig

from ..errors import UsageError
from ..models.builtin import BUILTIN
from .env_config import HermesAgentEnvConfig

#: Seconds in which the hub must answer once to be asked for more.
_HUB_SECONDS = 10


@contextlib.contextmanager
def no_tokenizer_yet() -> Iterator[None]:
    """Keep Atropos's constructor from loading a tokenizer: most environments are evaluated without one."""
    loader = atropos_base.AutoTokenizer
    atropos_base.AutoTokenizer = SimpleNamespace(from_pretrained=lambda name: None)
    try:
        yield
    finally:
        atropos_base.AutoTokenizer = loader


class EnvTokenizer:
    """The tokenizer of an environment, or why there is none."""

    def __init__(self, config: HermesAgentEnvConfig, server: APIServerConfig) -> None:
        self._name, self._chosen = _named(config, server)
        self._found: tuple[Any, str] | None = None
        # Each server of a model loads it in a thread of its own.
        self._loading = threading.Lock()

    def use(self, tokenizer: Any) -> None:
        """Take this one, which an environment's own code has loaded."""
        self._found = tokenizer, ""

    def find(self) -> Any:
        """Return the tokenizer, loaded at first use, or None when the model has none that can be had.

        Raises UsageError for one that the user named and that cannot be loaded.
        """
        return self._find()[0]

    def needed(self) -> Any:
        """Return the tokenizer. Raises UsageError when there is none."""
        tokenizer, problem = self._find()
        if tokenizer is None:
            raise UsageError(f"token-exact training needs a tokenizer: {problem}")
        return tokenizer

    @property
    def problem(self) -> str:
        """Why there is none."""
        return self._find()[1]

    def _find(self) -> tuple[Any, str]:
        with self._loading:
            if self._found is None:
                self._found = tokenizer, problem = _load(self._name)
                if tokenizer is None and self._chosen:
                    raise UsageError(f"tokenizer_name: {problem}")
            return self._found


def _named(config: HermesAgentEnvConfig, server: APIServerConfig) -> tuple[str, bool]:
    """Return the tokenizer's name, and whether the user chose it."""
    if config.tokenizer_name is not None:
        return config.tokenizer_name, True
    if server.tokenizer_name != "none":
        return str(server.tokenizer_name), True
    return str(server.model_name), False


def _load(name: str) -> tuple[Any, str]:
    if name in BUILTIN or not name:
        return None, f"the model {name or 'without a name'} has no tokenizer; name one with --env.tokenizer_name"
    from transformers import AutoTokenizer

    try:
        # Unreachable, it would be asked again for most of a minute, though nothing but a cache can help.
        cached = {} if os.path.isdir(name) or _hub_answers(name) else {"local_files_only": True}
        tokenizer: Any = AutoTokenizer.from_pretrained(name, **cached)
    except Exception as error:  # a missing file, a missing network, a format of a later version: all end here
        first = (str(error).strip().splitlines() or [""])[0]
        what = f"the tokenizer {name!r} cannot be loaded ({type(error).__name__}: {first})"
        return None, f"{what}; name one with --env.tokenizer_name"
    if not getattr(tokenizer, "chat_template", None):
        return None, f"the tokenizer {name!r} has no chat template, so it cannot render conversations"
    if not tokenizer.is_fast:
        return None, f"the tokenizer {name!r} gives no positions of its tokens in the text; use a fast tokenizer"
    return tokenizer, ""


def _hub_answers(name: str) -> bool:
    """Return whether the hub can be asked for a model's files, whether it has them or not."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(hf_hub_url(name, "tokenizer_config.json"), timeout=_HUB_SECONDS)
    except HfHubHTTPError:  # such as: it has no such file
        return True
    except Exception:  # of whatever library it is asked by; offline by choice, and names that it cannot have, as well
        return False
    return True

"""Finds the tokenizer of an environment's model, when it is first needed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import atroposlib.envs.base as atropos_base

from ..errors import UsageError
from ..models.embedded import EMBEDDED
from .env_config import HermesAgentEnvConfig

#: Seconds in which the hub must answer once to be asked for more.
_HUB_SECONDS = 10


class _Later:
    @staticmethod
    def from_pretrained(name: object, *arguments: Any, **options: Any) -> None:
        return None


@contextlib.contextmanager
def no_tokenizer_yet() -> Iterator[None]:
    """Keep Atropos's constructor from loading a tokenizer: most environments are evaluated without one."""
    loader = atropos_base.AutoTokenizer
    atropos_base.AutoTokenizer = _Later
    try:
        yield
    finally:
        atropos_base.AutoTokenizer = loader


class EnvTokenizer:
    """The tokenizer of an environment, or why there is none."""

    def __init__(self, config: HermesAgentEnvConfig, server: Any) -> None:
        self._name, self._chosen = _named(config, server)
        self._loaded = False
        # Each server of a model loads it in a thread of its own.
        self._loading = threading.Lock()
        self._tokenizer: Any = None
        self._problem = ""

    def find(self) -> Any:
        """Return the tokenizer, or None when the model has none that can be had; `problem` then says why.

        Raises UsageError for one that the user named and that cannot be loaded.
        """
        with self._loading:
            if not self._loaded:
                self._loaded = True
                self._tokenizer, self._problem = _load(self._name)
                if self._tokenizer is None and self._chosen:
                    raise UsageError(f"tokenizer_name: {self._problem}")
            return self._tokenizer

    @property
    def problem(self) -> str:
        self.find()
        return self._problem


def _named(config: HermesAgentEnvConfig, server: Any) -> tuple[str, bool]:
    """Return the tokenizer's name, and whether the user chose it."""
    if config.tokenizer_name is not None:
        return config.tokenizer_name, True
    fields = getattr(server, "config", None)
    of_server = getattr(fields, "tokenizer_name", "none")
    if of_server != "none":
        return str(of_server), True
    return str(getattr(fields, "model_name", "")), False


def _load(name: str) -> tuple[Any, str]:
    if name in EMBEDDED or not name:
        return None, f"the model {name or 'without a name'} has no tokenizer; name one with --env.tokenizer_name"
    from transformers import AutoTokenizer

    try:
        # Unreachable, it would be asked again for most of a minute, though nothing but a cache can help.
        cached = {} if os.path.isdir(name) or _hub_answers(name) else {"local_files_only": True}
        tokenizer: Any = AutoTokenizer.from_pretrained(name, **cached)
    except Exception as error:  # a missing file, a missing network, a format of a later version: all end here
        first = (str(error).strip().splitlines() or [""])[0]
        what = f"no tokenizer {name!r} can be had ({type(error).__name__}: {first})"
        return None, f"{what}; name one with --env.tokenizer_name"
    if not getattr(tokenizer, "chat_template", None):
        return None, f"the tokenizer {name!r} has no chat template, so it cannot render conversations"
    if not tokenizer.is_fast:
        return None, f"the tokenizer {name!r} does not tell where its tokens stand in the text; a fast one does"
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

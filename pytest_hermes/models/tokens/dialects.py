"""How model servers take token ids and tell those they sampled: three dialects.

- `vllm_generate`: the vLLM server of Atropos (example_trainer/vllm_api_server.py)
- `sglang`: SGLang's native API (https://docs.sglang.io/basic_usage/sampling_params.html)
- `completions`: `vllm serve` as it is (https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ...core.suggest import unknown
from ...errors import InfrastructureError, UsageError

Protocols = Literal["auto", "vllm_generate", "sglang", "completions"]

#: What `extra_body` may hold whatever the dialect: variables for the chat template, which is rendered on this side.
TEMPLATE_KEY = "chat_template_kwargs"


@dataclass(frozen=True)
class Sampled:
    """One answer: equally many ids and logprobs, and why it ended: `stop` or `length`."""

    ids: list[int]
    logprobs: list[float]
    finish_reason: str


class BadAnswer(InfrastructureError):
    """A server's answer does not tell what it sampled."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="tokens")


class Dialect(ABC):
    name: ClassVar[str]
    path: ClassVar[str]
    #: Whether `path` stands below the base URL, or below the root of the server.
    below_base: ClassVar[bool] = False
    #: Whether it says when a prompt is longer than its model takes. One that does not fails by it (500).
    tells_too_long: ClassVar[bool] = True
    #: Further sampling parameters it takes.
    parameters: ClassVar[frozenset[str]]

    @abstractmethod
    def body(self, model: str, prompt: list[int], sampling: dict[str, Any]) -> dict[str, Any]:
        """Return the request's JSON.

        `sampling` has `n`, `max_tokens` (None: as many as fit; without it, servers sample few), maybe `temperature`,
        and some of `parameters`.
        """

    def read(self, answer: Any, prompt: Sequence[int]) -> Sampled:
        """Return what was sampled. Raises BadAnswer when the answer does not tell it."""
        try:
            told = self._told(answer, prompt)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise _not_understood(self.name, answer, error) from None
        return _checked(*told)

    @abstractmethod
    def _told(self, answer: Any, prompt: Sequence[int]) -> tuple[Any, Any, Any]:
        """Return ids, logprobs, and why the answer ended, as the server tells them."""


_COMMON = frozenset(
    {
        "top_p",
        "top_k",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "stop",
        "stop_token_ids",
        "ignore_eos",
        "logit_bias",
        "skip_special_tokens",
        "spaces_between_special_tokens",
    }
)
_VLLM = _COMMON | {"seed", "min_tokens", "bad_words", "allowed_token_ids", "include_stop_str_in_output"}


class VllmGenerate(Dialect):
    name = "vllm_generate"
    path = "/generate"
    tells_too_long = False
    # It takes what it is sent as it is: keys of JSON are strings, and token ids are none.
    parameters = (_VLLM - {"logit_bias"}) | {"extra_args"}

    def body(self, model: str, prompt: list[int], sampling: dict[str, Any]) -> dict[str, Any]:
        # 0 logprobs are those of the sampled alone.
        return {"prompt": {"prompt_token_ids": prompt}, "logprobs": 0, **sampling}

    def _told(self, answer: Any, prompt: Sequence[int]) -> tuple[Any, Any, Any]:
        entries = [dict(entry[0]) for entry in answer["logprobs"][0]]
        told = answer.get("token_ids")
        # Where an entry holds more than one, only the server knows which of them it sampled.
        ids = [int(token) for token in told[0]] if told else [int(token) for (token,) in entries]
        by_id = [{int(key): value for key, value in entry.items()} for entry in entries]
        if len(ids) != len(by_id):
            raise BadAnswer(f"the server returned {len(by_id)} logprobs for {len(ids)} sampled tokens")
        logprobs = [entry.get(token) for entry, token in zip(by_id, ids, strict=True)]
        reason = answer["finish_reasons"][0]
        _check_prompt(answer.get("prompt_token_ids"), prompt)
        return ids, logprobs, reason


class Sglang(Dialect):
    name = "sglang"
    path = "/generate"
    parameters = _COMMON | {
        "min_new_tokens",
        "stop_regex",
        "no_stop_trim",
        "json_schema",
        "regex",
        "ebnf",
        "structural_tag",
        "custom_params",
        "sampling_seed",
    }

    def body(self, model: str, prompt: list[int], sampling: dict[str, Any]) -> dict[str, Any]:
        rest = dict(sampling)
        return {
            "input_ids": prompt,
            "sampling_params": {"max_new_tokens": rest.pop("max_tokens"), **rest},
            "return_logprob": True,
            "return_text_in_logprobs": False,
        }

    def _told(self, answer: Any, prompt: Sequence[int]) -> tuple[Any, Any, Any]:
        meta = (answer[0] if isinstance(answer, list) else answer)["meta_info"]
        told, reason = meta["output_token_logprobs"], meta["finish_reason"]
        ids, logprobs = [entry[1] for entry in told], [entry[0] for entry in told]
        count = meta.get("completion_tokens")
        if isinstance(count, int) and count != len(ids):
            raise BadAnswer(f"the server sampled {count} tokens but returned {len(ids)} logprobs")
        asked = meta.get("prompt_tokens")
        if isinstance(asked, int) and asked != len(prompt):
            # With --allow-auto-truncate it cuts a long prompt off, and says nothing else of it.
            raise BadAnswer(f"the server was sent {len(prompt)} prompt tokens but used {asked} of them")
        return ids, logprobs, reason["type"] if isinstance(reason, Mapping) else reason


class Completions(Dialect):
    name = "completions"
    path = "/completions"
    below_base = True
    parameters = _VLLM | {
        "structured_outputs",
        "response_format",
        "priority",
        "cache_salt",
        "vllm_xargs",
        "user",
    }

    def body(self, model: str, prompt: list[int], sampling: dict[str, Any]) -> dict[str, Any]:
        return {"model": model, "prompt": prompt, "logprobs": 0, "return_token_ids": True, **sampling}

    def _told(self, answer: Any, prompt: Sequence[int]) -> tuple[Any, Any, Any]:
        choice = answer["choices"][0]
        ids, logprobs = choice.get("token_ids"), choice["logprobs"]["token_logprobs"]
        reason = choice["finish_reason"]
        if ids is None:
            raise BadAnswer("the server returns no token ids: return_token_ids needs vLLM 0.10.2 or later")
        _check_prompt(choice.get("prompt_token_ids"), prompt)
        return ids, logprobs, reason


DIALECTS: dict[str, Dialect] = {one.name: one for one in (VllmGenerate(), Sglang(), Completions())}

#: Paths that only SGLang has.
_SGLANGS = ("/get_model_info", "/model_info", "/server_info", "/get_server_info")


def dialect_of(paths: Mapping[str, Any]) -> Dialect | None:
    """Return the dialect of a server that has these paths in its `openapi.json`; None for one that has none of ours."""
    if "/generate" in paths and any(path in paths for path in _SGLANGS):
        return DIALECTS["sglang"]
    if "/v1/completions" in paths:
        return DIALECTS["completions"]
    return DIALECTS["vllm_generate"] if "/generate" in paths else None


def check_parameters(dialect: Dialect, extra_body: Mapping[str, Any] | None) -> None:
    """Raise UsageError for a key of `extra_body` that a server of this dialect would not take, or not obey."""
    for key, value in (extra_body or {}).items():
        if key == TEMPLATE_KEY:
            if not isinstance(value, Mapping):
                raise UsageError(f"env.extra_body: {TEMPLATE_KEY} must be a mapping, not {value!r}")
        elif key not in dialect.parameters:
            known = {*dialect.parameters, TEMPLATE_KEY}
            raise UsageError(f"env.extra_body for a {dialect.name} server: {unknown('parameter', key, known)}")
        elif key == "stop_token_ids" and not (isinstance(value, list) and all(type(one) is int for one in value)):
            raise UsageError(f"env.extra_body: {key} must be a list of token ids, not {value!r}")


def _checked(ids: Any, logprobs: Any, reason: Any) -> Sampled:
    """Return what was sampled, if it is told of every token: what is missing must not be filled up."""
    if not isinstance(ids, list) or not isinstance(logprobs, list) or len(ids) != len(logprobs):
        raise BadAnswer(f"the server returned {_count(logprobs)} logprobs for {_count(ids)} sampled tokens")
    if not isinstance(reason, str) or reason in ("abort", "error"):
        raise BadAnswer(f"the server aborted the answer (finish_reason {reason})")
    if not ids:
        raise BadAnswer("the server sampled no tokens")
    for index, (token, logprob) in enumerate(zip(ids, logprobs, strict=True)):
        if isinstance(token, bool) or not isinstance(token, int) or token < 0:
            raise BadAnswer(f"sampled token {index} has the id {token!r}")
        if isinstance(logprob, bool) or not isinstance(logprob, int | float) or not math.isfinite(logprob):
            raise BadAnswer(f"sampled token {index} has the logprob {logprob!r}")
    # Whatever else it says (`repetition`, for one), the model did not end its turn.
    return Sampled(ids, [float(value) for value in logprobs], "stop" if reason == "stop" else "length")


def _check_prompt(told: Any, prompt: Sequence[int]) -> None:
    if told is not None and told != list(prompt):
        raise BadAnswer(f"the server was sent {len(prompt)} prompt tokens but reports {_count(told)} others")


def _not_understood(name: str, answer: Any, error: Exception) -> BadAnswer:
    keys = ", ".join(map(str, answer)) if isinstance(answer, Mapping) else type(answer).__name__
    return BadAnswer(
        f"the answer is not that of a {name} server ({type(error).__name__}: {error}; it has {keys or 'nothing'}): "
        "check openai.token_protocol"
    )


def _count(values: Any) -> str:
    return str(len(values)) if isinstance(values, list) else "no"

"""A server that is asked by token ids: which dialect it speaks, whether it reads ids as we do, and its answers."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from ...errors import FatalError, InfrastructureError, UsageError
from ..endpoint import Endpoint
from ..faults import NotFound, ServerFailed
from ..protocol import ContextWindowExceeded
from .chat_template import ChatTemplate
from .dialects import DIALECTS, Dialect, Protocols, Sampled, dialect_of

#: Where `vllm serve` gives the text of ids (vllm/entrypoints/serve/tokenize).
_DETOKENIZE = "/detokenize"

#: A text that every tokenizer gives back.
_PROBE = "The quick brown fox: 1 + 1 = 2"

_UNDETECTED = (
    "cannot detect this server's token protocol; set openai.token_protocol to vllm_generate (Atropos's vLLM server), "
    "sglang, or completions (vllm serve)"
)


class TokenEndpoint:
    """One server, found by `find`, whose `dialect` is how it is spoken to."""

    def __init__(self, endpoint: Endpoint, root: str, base: str, dialect: Dialect, paths: Mapping[str, Any]) -> None:
        self.dialect = dialect
        self._endpoint = endpoint
        self._root = root
        self._url = (base if dialect.below_base else root) + dialect.path
        self._paths = paths

    @classmethod
    async def find(cls, endpoint: Endpoint, protocol: Protocols) -> TokenEndpoint:
        """Return the server at an endpoint; what it can is asked for unless the protocol says.

        Raises UsageError when that cannot be told, FatalError when nobody answers.
        """
        root = endpoint.address.removesuffix("/v1")
        if protocol != "auto":
            return cls(endpoint, root, endpoint.address, DIALECTS[protocol], {})
        url = f"{root}/openapi.json"
        try:
            paths = dict((await endpoint.get(url))["paths"])
        except FatalError as error:
            raise UsageError(f"{_UNDETECTED} ({error})") from None
        except InfrastructureError as error:
            if not endpoint.answered:
                raise FatalError(str(error)) from None
            raise UsageError(f"{_UNDETECTED} ({error})") from None
        except (KeyError, TypeError, ValueError):
            raise UsageError(f"{_UNDETECTED} ({url} has no paths)") from None
        dialect = dialect_of(paths)
        if dialect is None:
            raise UsageError(f"{_UNDETECTED} ({url} names neither /generate nor /v1/completions)")
        # What stands in its list of paths stands below /v1, whether the address has that or not.
        return cls(endpoint, root, f"{root}/v1", dialect, paths)

    async def check_tokenizer(self, template: ChatTemplate) -> None:
        """Raise UsageError when the server reads another text in the ids of one. One that does not say is believed."""
        if _DETOKENIZE not in self._paths:
            return
        body = {"model": self._endpoint.name, "tokens": template.encode(_PROBE)}
        try:
            read = (await self._endpoint.post(self._root + _DETOKENIZE, body, patient=False))["prompt"]
        except (InfrastructureError, KeyError, TypeError):
            return
        if isinstance(read, str) and read.strip() != _PROBE:
            raise UsageError(
                f"the tokenizer is not that of the server's model: the server decodes the tokens of {_PROBE!r} as "
                f"{read[:60]!r}; name the right tokenizer with env.tokenizer_name"
            )

    async def sample(self, prompt: Sequence[int], sampling: dict[str, Any]) -> Sampled:
        """Return what the server samples after `prompt`; `sampling` is what `Dialect.body` takes.

        Raises what `Model.chat_completion` raises, and BadAnswer when the server does not tell what it sampled.
        """
        try:
            answer = await self._answer(list(prompt), sampling)
        except NotFound as error:
            raise FatalError(
                f"{self._url} does not exist, or has no model {self._endpoint.name!r} (404: {error.said}): check "
                f"openai.base_url, openai.model_name, and openai.token_protocol ({self.dialect.name})"
            ) from None
        except FatalError:
            raise
        except InfrastructureError as error:
            if self._endpoint.answered:
                raise
            raise FatalError(str(error)) from None
        return self.dialect.read(answer, prompt)

    def _ask(self, prompt: list[int], sampling: dict[str, Any], *, patient: bool) -> Awaitable[Any]:
        body = self.dialect.body(self._endpoint.name, prompt, sampling)
        return self._endpoint.post(self._url, body, patient=patient)

    async def _answer(self, prompt: list[int], sampling: dict[str, Any]) -> Any:
        """Return the answer to a prompt, and tell one that is too long from a server that fails.

        The vLLM server of Atropos (example_trainer/vllm_api_server.py) answers both with a 500 that says nothing more.
        One that takes all parts of a prompt, and so each of its ids, and fails by the whole, finds it too long: raises
        ContextWindowExceeded. One that fails by a part is waited for.
        """
        if self.dialect.tells_too_long:
            return await self._ask(prompt, sampling, patient=True)
        try:
            return await self._ask(prompt, sampling, patient=False)
        except ServerFailed:
            one = {key: value for key, value in sampling.items() if key != "min_tokens"} | {"max_tokens": 1}
            if not await self._takes_parts(prompt, one):
                return await self._ask(prompt, sampling, patient=True)
        # It may have passed in the meantime.
        try:
            return await self._ask(prompt, sampling, patient=False)
        except ServerFailed:
            message = f"{len(prompt)} tokens: the server accepts each part of them, but not the whole"
            raise ContextWindowExceeded(message) from None

    async def _takes_parts(self, ids: list[int], sampling: dict[str, Any]) -> bool:
        middle = len(ids) // 2
        return middle > 0 and await self._takes(ids[:middle], sampling) and await self._takes(ids[middle:], sampling)

    async def _takes(self, ids: list[int], sampling: dict[str, Any]) -> bool:
        try:
            await self._ask(ids, sampling, patient=False)
        except ServerFailed:
            return await self._takes_parts(ids, sampling)
        return True

"""A real HTTP server that takes and tells token ids in three dialects, and samples as no tokenizer would."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal

from .loopback_server import LoopbackServer

PATHS = {
    "vllm_generate": ["/generate", "/health"],
    "sglang": ["/generate", "/v1/completions", "/get_model_info"],
    "completions": ["/v1/completions", "/v1/chat/completions", "/version", "/detokenize"],
}


@dataclass(frozen=True)
class Emitted:
    """One answer as it went out, with the ids it was sampled after and the request it answered."""

    prompt: list[int]
    ids: list[int]
    logprobs: list[float]
    finish_reason: str
    body: dict[str, Any] = field(repr=False, default_factory=dict)


class TokenServer:
    """Serves on loopback until it is closed. `script` gives an answer's text from the text of its prompt.

    A text is sampled byte by byte, special tokens whole; one that ends without a special token was cut off. `spoil`
    changes what is told of an answer, if it is given.
    """

    def __init__(self, tokenizer: Any, dialect: Literal["vllm_generate", "sglang", "completions"]) -> None:
        self.dialect = dialect
        self.script: Callable[[str], str] = lambda prompt: ""
        self.spoil: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer
        #: Tokens that a prompt may have at most. What Atropos's server does with more is fail.
        self.longest: int | None = None
        #: Requests that fail from now on, whatever they are.
        self.failing = 0
        self.failed = 0
        self.emitted: list[Emitted] = []
        self.refused: list[str] = []
        self.use(tokenizer)
        self._count = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                known = self.path == "/openapi.json"
                self._send(200 if known else 404, {"paths": {path: {} for path in PATHS[server.dialect]}})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path == "/detokenize" and server.dialect == "completions":
                    self._send(200, {"prompt": server._tokenizer.decode(body["tokens"])})
                    return
                if self.path != ("/v1/completions" if server.dialect == "completions" else "/generate"):
                    server.refused.append(self.path)
                    self._send(404, {"detail": "Not Found"})
                    return
                if server._fails(body):
                    self._send(500, "Internal Server Error")
                    return
                try:
                    self._send(200, server._answer(body))
                except ConnectionError:
                    self.close_connection = True

            def _send(self, status: int, value: Any) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = LoopbackServer(Handler)

    @property
    def url(self) -> str:
        return f"{self._server.url}/v1"

    def use(self, tokenizer: Any) -> None:
        """Sample by another tokenizer from now on."""
        self._tokenizer = tokenizer
        self._added = dict(tokenizer.get_added_vocab())

    def sample(self, text: str) -> list[int]:
        """Return ids of a text that are not those its tokenizer would give."""
        ids: list[int] = []
        while text:
            added = next((name for name in sorted(self._added, key=len, reverse=True) if text.startswith(name)), None)
            if added is not None:
                ids.append(self._added[added])
            else:
                for byte in text[0].encode():
                    ids += self._byte(byte)
            text = text[len(added or text[0]) :]
        return ids

    def _byte(self, byte: int) -> list[int]:
        from tokenizers import pre_tokenizers

        if (token := self._tokenizer.get_vocab().get(f"<0x{byte:02X}>")) is not None:
            return [token]
        # The byte's own letter in the alphabet of byte-level tokenizers.
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        rest = [value for value in range(256) if value not in printable]
        letter = chr(byte) if byte in printable else chr(256 + rest.index(byte))
        assert letter in pre_tokenizers.ByteLevel.alphabet()
        return [self._tokenizer.convert_tokens_to_ids(letter)]

    def _fails(self, body: dict[str, Any]) -> bool:
        with self._lock:
            fails = self.failing > 0 or (
                self.longest is not None and len(body["prompt"]["prompt_token_ids"]) > self.longest
            )
            self.failing -= self.failing > 0
            self.failed += fails
        return fails

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt, wanted = {
            "vllm_generate": lambda: (body["prompt"]["prompt_token_ids"], body["max_tokens"]),
            "sglang": lambda: (body["input_ids"], body["sampling_params"]["max_new_tokens"]),
            "completions": lambda: (body["prompt"], body["max_tokens"]),
        }[self.dialect]()
        ids = self.sample(self.script(self._tokenizer.decode(prompt)))
        stop = ids[-1] in self._added.values()
        # One that ends with the last token it may have was cut off as well, to SGLang.
        if wanted is not None and len(ids) >= wanted:
            ids, stop = ids[:wanted], False
        with self._lock:
            logprobs = [-(self._count + i + 1) / 1024 for i in range(len(ids))]
            self._count += len(ids)
            finish_reason = "stop" if stop else "length"
            self.emitted.append(Emitted(list(prompt), list(ids), list(logprobs), finish_reason, body))
        return self.spoil(self._told(body, prompt, ids, logprobs, finish_reason))

    def _told(
        self, body: dict[str, Any], prompt: list[int], ids: list[int], logprobs: list[float], finish_reason: str
    ) -> dict[str, Any]:
        pairs = list(zip(ids, logprobs, strict=True))
        if self.dialect == "vllm_generate":
            assert body["logprobs"] == 0
            told = [[{str(token): logprob}] for token, logprob in pairs]
            return {"text": [""], "prompt": "", "finish_reasons": [finish_reason], "logprobs": [told]}
        if self.dialect == "sglang":
            assert body["return_logprob"] is True
            return {
                "text": "",
                "meta_info": {
                    "finish_reason": {"type": finish_reason},
                    "completion_tokens": len(ids),
                    "output_token_logprobs": [[logprob, token, None] for token, logprob in pairs],
                },
            }
        assert body["return_token_ids"] is True
        return {
            "choices": [
                {
                    "index": 0,
                    "text": "",
                    "finish_reason": finish_reason,
                    "logprobs": {"token_logprobs": logprobs},
                    "token_ids": ids,
                    "prompt_token_ids": prompt,
                }
            ]
        }

    def close(self) -> None:
        self._server.stop()

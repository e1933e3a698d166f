"""Serves a model over `/generate` as Atropos's vLLM server does: token ids in, sampled ids and logprobs out.

Requests that come in while a batch is sampled make the next one.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from aiohttp import web
from torch import Tensor

from .tiny_model import Answer, TinyModel, sample

#: Seconds for which a batch waits for more requests, since those of a group come together.
_GATHERING = 0.01


@dataclass(frozen=True)
class _Request:
    prompt: list[int]
    max_tokens: int
    stop: tuple[int, ...]
    temperature: float
    answer: asyncio.Future[Answer]

    @property
    def together(self) -> tuple[Any, ...]:
        """What requests of one batch have in common."""
        return self.max_tokens, self.stop, self.temperature


class TokenService:
    """Serves a copy of a model on loopback, in a thread of its own, until it is closed."""

    def __init__(self, model: TinyModel, seed: int) -> None:
        self._model = copy.deepcopy(model).eval()
        self._generator = torch.Generator().manual_seed(seed)
        self._using = threading.Lock()
        self._waiting: asyncio.Queue[_Request] = asyncio.Queue()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner, self.port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        self._sampling = asyncio.run_coroutine_threadsafe(self._answer_all(), self._loop)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Sample with these weights from now on. An answer is sampled with the same ones from its beginning to end."""
        with self._using:
            self._model.load_state_dict(weights)

    def close(self) -> None:
        self._sampling.cancel()
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> tuple[web.AppRunner, int]:
        application = web.Application()
        application.router.add_get("/openapi.json", self._describe)
        application.router.add_post("/generate", self._generate)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, runner.addresses[0][1]

    async def _describe(self, request: web.Request) -> web.Response:
        return web.json_response({"paths": {"/generate": {}}})

    async def _generate(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except ConnectionError as error:  # an environment that was told to end
            raise web.HTTPBadRequest from error
        one = _Request(
            body["prompt"]["prompt_token_ids"],
            body["max_tokens"],
            tuple(body["stop_token_ids"]),
            body["temperature"],
            self._loop.create_future(),
        )
        self._waiting.put_nowait(one)
        answer = await one.answer
        told = [[{str(token): logprob}] for token, logprob in zip(answer.ids, answer.logprobs, strict=True)]
        return web.json_response(
            {"text": [""], "prompt": "", "finish_reasons": [answer.finish_reason], "logprobs": [told]}
        )

    async def _answer_all(self) -> None:
        while True:
            requests = [await self._waiting.get()]
            await asyncio.sleep(_GATHERING)
            while not self._waiting.empty():
                requests.append(self._waiting.get_nowait())
            batches: dict[tuple[Any, ...], list[_Request]] = {}
            for request in requests:
                batches.setdefault(request.together, []).append(request)
            for batch in batches.values():
                await self._answer(batch)

    async def _answer(self, batch: list[_Request]) -> None:
        try:
            answers = await asyncio.to_thread(self._sample, batch)
        except Exception as error:  # whoever asked gets it
            for request in batch:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        for request, answer in zip(batch, answers, strict=True):
            if not request.answer.done():  # whoever asked may be gone
                request.answer.set_result(answer)

    def _sample(self, batch: list[_Request]) -> list[Answer]:
        first = batch[0]
        prompts = [request.prompt for request in batch]
        with self._using:
            answers: list[Answer] = sample(
                self._model, prompts, first.max_tokens, first.stop, first.temperature, self._generator
            )
        return answers

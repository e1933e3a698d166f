"""A causal transformer of about two million parameters in PyTorch, and batched sampling from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Tokens of the longest sequence.
CONTEXT = 128


@dataclass
class Cache:
    """Keys and values of what a batch holds so far: [layers, 2, batch, heads, CONTEXT, width of a head]."""

    memory: Tensor
    length: int = 0


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.before_feed_forward = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mask: Tensor | None, cache: Tensor | None, length: int) -> Tensor:
        batch, new, width = x.shape
        projected = self.queries_keys_values(self.before_attention(x)).view(batch, new, 3, self.heads, -1)
        queries, keys, values = projected.permute(2, 0, 3, 1, 4)
        if cache is not None:
            cache[0, :, :, length : length + new] = keys
            cache[1, :, :, length : length + new] = values
            keys, values = cache[0, :, :, : length + new], cache[1, :, :, : length + new]
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=mask is None)
        x = x + self.mix(attended.transpose(1, 2).reshape(batch, new, width))
        return x + self.feed_forward(self.before_feed_forward(x))


class TinyModel(nn.Module):
    """Pre-norm blocks between token embeddings that serve as the output layer as well, and learned positions."""

    def __init__(self, vocabulary: int, *, width: int = 208, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(CONTEXT, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.last = nn.LayerNorm(width)
        self.heads, self.width = heads, width
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
        # Larger than the rest, so that what a token is soon shows in what is sampled.
        for embedding in (self.tokens, self.positions):
            nn.init.normal_(embedding.weight, std=0.07)

    @property
    def size(self) -> int:
        """How many parameters it has."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits [batch, length, vocabulary] of right-padded ids [batch, length]."""
        return self._forward(ids, torch.arange(ids.shape[1]), None, None)

    def go_on(self, ids: Tensor, positions: Tensor, mask: Tensor, cache: Cache) -> Tensor:
        """Return logits [batch, vocabulary] after new ids [batch, new], which `cache` then holds as well.

        `mask` [batch, 1, new, all] says which ids each new one may look at.
        """
        x = self._forward(ids, positions, mask, cache)
        cache.length += ids.shape[1]
        return x[:, -1]

    def _forward(self, ids: Tensor, positions: Tensor, mask: Tensor | None, cache: Cache | None) -> Tensor:
        x = self.tokens(ids) + self.positions(positions)
        for index, block in enumerate(self.blocks):
            x = block(x, mask, None if cache is None else cache.memory[index], 0 if cache is None else cache.length)
        return F.linear(self.last(x), self.tokens.weight)

    def new_cache(self, batch: int) -> Cache:
        return Cache(torch.zeros(len(self.blocks), 2, batch, self.heads, CONTEXT, self.width // self.heads))


@dataclass(frozen=True)
class Answer:
    """What was sampled after one prompt."""

    ids: list[int]
    #: Natural logarithms of the probabilities with which they were.
    logprobs: list[float]
    #: `stop` or `length`.
    finish_reason: str


@torch.inference_mode()
def sample(
    model: TinyModel,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    stop: Sequence[int],
    temperature: float,
    generator: torch.Generator,
) -> list[Answer]:
    """Return an answer to each prompt, drawn at `temperature`, of at most `max_tokens` tokens.

    Raises ValueError for a prompt that leaves no room.
    """
    longest = max(map(len, prompts))
    max_tokens = min(max_tokens, CONTEXT - longest)
    if max_tokens < 1:
        raise ValueError(f"a prompt of {longest} tokens, and the model takes {CONTEXT}")
    # Padded at the left, so that all continue at the same position.
    padding = torch.tensor([longest - len(prompt) for prompt in prompts])
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    positions = torch.arange(longest)
    visible = torch.arange(CONTEXT)[None] >= padding[:, None]
    mask = visible[:, None, None, :longest] & torch.ones(longest, longest, dtype=torch.bool).tril()
    # What is padding sees itself, since a softmax over nothing is not a number.
    mask |= torch.eye(longest, dtype=torch.bool)
    cache = model.new_cache(len(prompts))
    logits = model.go_on(ids, (positions - padding[:, None]).clamp(min=0), mask, cache)
    endings = torch.tensor(list(stop))
    drawn: list[Tensor] = []
    logprobs: list[Tensor] = []
    ended = torch.zeros(len(prompts), dtype=torch.bool)
    while True:
        distribution = (logits / temperature).log_softmax(-1)
        token = torch.multinomial(distribution.exp(), 1, generator=generator)
        drawn.append(token[:, 0])
        logprobs.append(distribution.gather(1, token)[:, 0])
        ended |= torch.isin(token[:, 0], endings)
        if len(drawn) == max_tokens or bool(ended.all()):
            break
        position = cache.length
        logits = model.go_on(token, position - padding[:, None], visible[:, None, None, : position + 1], cache)
    rows = zip(torch.stack(drawn, 1).tolist(), torch.stack(logprobs, 1).tolist(), strict=True)
    return [_answer(row, told, frozenset(stop)) for row, told in rows]


def _answer(ids: list[int], logprobs: list[float], stop: frozenset[int]) -> Answer:
    end = next((index + 1 for index, token in enumerate(ids) if token in stop), None)
    return Answer(ids[:end], logprobs[:end], "length" if end is None else "stop")

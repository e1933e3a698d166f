"""A trainer of one small model: the warm start by supervision, then the clipped policy gradient."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .scored_batch import IGNORED, Row
from .tiny_model import TinyModel

#: By which factor the probability of a token may change before it has no gradient any more.
CLIP = 0.2
#: Steps of the optimizer until the learning rate is reached.
WARM_UP = 40


@dataclass(frozen=True)
class Update:
    """What one batch came to."""

    #: Largest difference between a delivered logprob and that of the policy before the update.
    farthest: float
    #: Share of the tokens that were clipped, over all passes.
    clipped: float


def warm_start(
    model: TinyModel,
    examples: Iterator[tuple[list[int], list[bool]]],
    *,
    steps: int,
    batch: int,
    learning_rate: float = 2e-3,
) -> float:
    """Teach the model what the assistant writes in `examples`. Returns the last mean loss of a token, in nats."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    last = float("nan")
    for _ in range(steps):
        pairs = [next(examples) for _ in range(batch)]
        tokens = _padded([ids for ids, _ in pairs], 0)
        labels = [[token if mine else IGNORED for token, mine in zip(*pair, strict=True)] for pair in pairs]
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.transpose(1, 2), _padded(labels, IGNORED)[:, 1:], ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        last = loss.item()
    return last


def clipped_loss(new: Tensor, old: Tensor, advantage: Tensor, trained: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of PPO's clipped objective, averaged over the trained tokens, and which tokens were clipped.

    Logprobs `new` and `old`, `advantage` and `trained` have one entry a token
    (https://arxiv.org/abs/1707.06347, equation 7).
    """
    ratio = (new - old).exp()
    free, held = ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage
    loss = -torch.minimum(free, held)[trained].mean()
    return loss, (held < free) & trained


class PolicyGradient:
    """Updates a model's weights batch by batch."""

    def __init__(
        self,
        model: TinyModel,
        rng: random.Random,
        *,
        learning_rate: float,
        exploration: float,
        passes: int,
        minibatch: int,
    ) -> None:
        self._model = model
        self._rng = rng
        self._passes, self._minibatch = passes, minibatch
        self._exploration = exploration
        self._learning_rate = learning_rate
        self._optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, betas=(0.9, 0.99))
        self._steps = 0

    def update(self, batch: Sequence[Row], pace: float = 1.0) -> Update:
        """Go over a batch's rollouts some times, in random order, at `pace` times the learning rate."""
        farthest = self._farthest(batch)
        clipped = trained = 0
        for _ in range(self._passes):
            order = self._rng.sample(list(batch), len(batch))
            for begin in range(0, len(order), self._minibatch):
                rows = order[begin : begin + self._minibatch]
                new, old, mask, entropy = self._logprobs(rows)
                advantage = torch.tensor([row.advantage for row in rows])[:, None].expand_as(new)
                loss, held = clipped_loss(new, old, advantage, mask)
                loss = loss - self._exploration * entropy[mask].mean()
                self._optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
                self._step(pace)
                clipped += int(held.sum())
                trained += int(mask.sum())
        return Update(farthest, clipped / trained)

    def _step(self, pace: float) -> None:
        self._steps += 1
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate * pace * min(1.0, self._steps / WARM_UP)
        self._optimizer.step()

    def _logprobs(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return for each token the policy's logprob, the delivered one, whether it is trained on, and the entropy."""
        # The masks are the labels, as in Atropos's own trainer: what they say is learned, whatever the tokens are.
        labels = _padded([row.masks for row in rows], IGNORED)[:, 1:]
        old = _padded([row.logprobs for row in rows], 0.0)[:, 1:]
        policy = self._model(_padded([row.tokens for row in rows], 0)[:, :-1]).log_softmax(-1)
        new = policy.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        return new, old, labels != IGNORED, -(policy.exp() * policy).sum(-1)

    @torch.no_grad()
    def _farthest(self, batch: Sequence[Row]) -> float:
        new, old, mask, _ = self._logprobs(batch)
        return float((new - old)[mask].abs().max())


def _padded(rows: Sequence[Sequence[int]] | Sequence[Sequence[float]], value: float) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])

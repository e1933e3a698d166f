"""One training run: a served model, the run-api, an environment that serves, and the trainer between them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from tests.services.run_api import RunApi

from .call_format import examples, make_task_tokenizer
from .learning_report import FIRST, LAST, Curve, mean
from .scored_batch import rows, spoiled
from .tiny_model import TinyModel
from .token_service import TokenService
from .trainer import PolicyGradient, warm_start
from .two_turns import STRICT

ROOT = Path(__file__).parents[2]

#: Smaller groups see a right answer too seldom: then a policy may settle on a wrong one and never hear of it.
GROUP_SIZE = 16
#: Rollouts of a batch.
BATCH_SIZE = 128
#: Tokens of the longest sequence that is trained on, and one more.
MAX_TOKENS = 64

WARM_STEPS, WARM_BATCH = 80, 32
LEARNING_RATE = 2e-4
#: Weight of the entropy of what is sampled, which keeps the policy from settling before it knows.
EXPLORATION = 0.01
#: Times that each batch is gone over, and rollouts of one step of the optimizer.
PASSES, MINIBATCH = 2, 64

#: Below this mean reward the learning rate is kept; from there on it falls with what is missing, to SLOWEST times it.
#: Adam takes steps of the same length however little there is left to learn.
FULL_PACE, SLOWEST = 0.5, 0.1

#: Training ends early when the last batches are this good. What it came to is measured then on others, since these were
#: waited for.
ENOUGH = 0.93

#: A delivered logprob may differ by so much from the trainer's own, in float32, while the weights are the same.
CLOSE = 1e-3


class RunBroke(Exception):
    """A part of the run ended, or did what it must not."""


def run(curve: Curve, *, steps: int, minutes: float, folder: Path, tell: Callable[[str], None]) -> None:
    """Train a new model for so many batches or minutes at most, and write down in `curve` how it goes.

    Without a control it ends early once it succeeds. Raises RunBroke with the end of a log when a part of it fails.
    """
    from transformers import AutoTokenizer

    began = time.monotonic()
    folder.mkdir(parents=True)
    torch.manual_seed(curve.seed)
    rng = random.Random(curve.seed)
    tokenizer_folder = make_task_tokenizer(folder / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_folder))
    model = TinyModel(len(tokenizer))
    tell(f"{model.size / 1e6:.1f} M parameters; warm start on {WARM_STEPS} batches of random calls")
    loss = warm_start(model, examples(tokenizer, rng), steps=WARM_STEPS, batch=WARM_BATCH)
    tell(f"warm after {time.monotonic() - began:.0f} s, loss {loss:.3f}")
    learner = PolicyGradient(
        model, rng, learning_rate=LEARNING_RATE, exploration=EXPLORATION, passes=PASSES, minibatch=MINIBATCH
    )
    with ExitStack() as parts:
        service = TokenService(model, curve.seed)
        parts.callback(service.close)
        api = RunApi(folder / "run-api.log")
        parts.callback(api.close)
        api.register_trainer(batch_size=BATCH_SIZE, max_token_len=MAX_TOKENS, steps=steps + LAST + 1)
        env = parts.enter_context(_serving(service.url, api.url, tokenizer_folder, curve.seed, folder / "serve.log"))
        measuring = 0
        for batch in _batches(api, env, folder / "serve.log"):
            scores = [score for group in batch for score in group["scores"]]
            curve.strict.append(mean([float(score >= STRICT) for score in scores]))
            curve.reward.append(mean(scores))
            curve.seconds.append(time.monotonic() - began)
            step = len(curve.strict)
            if measuring:
                measuring -= 1
                if not measuring:
                    return
                continue
            pace = min(1.0, max(SLOWEST, (1 - curve.reward[-1]) / (1 - FULL_PACE)))
            update = learner.update(spoiled(rows(batch), curve.control, rng), pace)
            service.load(model.state_dict())
            if step == 1:
                curve.first_difference = update.farthest
                if curve.control != "masks shifted" and update.farthest > CLOSE:
                    raise RunBroke(f"delivered logprobs are not those of the policy: off by {update.farthest:.3g}")
            if step % 5 == 0 or step == 1:
                tell(
                    f"step {step:3}: strict success {curve.end:6.1%}, mean reward {mean(curve.reward[-LAST:]):.2f}, "
                    f"clipped {update.clipped:.1%}, {curve.seconds[-1]:.0f} s"
                )
            enough = curve.control == "none" and step >= FIRST + LAST and curve.end >= ENOUGH
            if enough:
                tell(f"step {step:3}: enough; measuring it on {LAST} batches")
                # The next one is under way, partly by the weights before the last update.
                measuring = LAST + 1
            elif step >= steps or curve.seconds[-1] > 60 * minutes:
                return


def _batches(api: RunApi, env: subprocess.Popen[bytes], log: Path) -> Iterator[list[dict[str, Any]]]:
    """Yield what the run-api has, as it comes. Raises RunBroke when the environment ends."""
    while True:
        batch = api.get("/batch")["batch"]
        if batch:
            yield batch
        elif (code := env.poll()) is not None:
            raise RunBroke(f"serve ended with {code}; the end of its output:\n{log.read_text()[-3000:]}")
        else:
            time.sleep(0.05)


@contextmanager
def _serving(model_url: str, api_url: str, tokenizer: Path, seed: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `hermes-env … serve` as a user would. On leaving it is told to end, which closes its sandboxes."""
    command = [
        sys.executable, "-m", "pytest_hermes.atropos", "tests/rl/two_turns_env.py:TwoTurnsEnv", "serve",
        "--openai.base_url", model_url, "--env.rollout_server_url", api_url, "--env.tokenizer_name", str(tokenizer),
        "--env.group_size", str(GROUP_SIZE), "--env.max_num_workers", str(BATCH_SIZE // GROUP_SIZE),
        "--env.max_batches_offpolicy", "1", "--env.total_steps", "-1", "--env.seed", str(seed),
    ]  # fmt: skip
    with log.open("wb") as output:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

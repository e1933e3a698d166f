"""The real run-api of atroposlib on loopback, a small trainer that pulls batches, and a tokenizer made here."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: A ChatML template with tools, reasoning that is kept, and an answer that is trimmed, as public ones have it.
CHATML = (
    "{%- if tools %}<|im_start|>system\n# Tools\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n"
    "{% endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'tool' %}"
    "<|im_start|>user\n<tool_response>\n{{ message.content }}\n</tool_response>{{ '<|im_end|>\n' }}"
    "{%- else %}<|im_start|>{{ message.role }}\n{{ message.content | trim }}"
    "{%- for call in message.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    "{%- endfor %}{{ '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def problem() -> str | None:
    """Return why atroposlib cannot be used here, or None."""
    if importlib.util.find_spec("atroposlib") is None:
        return "atroposlib is not installed: pip install -e '.[atropos]'"
    return None


def make_tokenizer(
    folder: Path,
    template: str = CHATML,
    *,
    special: Sequence[str] = ("<|im_start|>", "<|im_end|>", "<|end|>"),
    added: Sequence[str] = (),
    eos: str = "<|im_end|>",
    words: bool = True,
    texts: Sequence[str] = ("the quick brown fox calls a tool", '{"name": "terminal", "arguments": {}}'),
) -> Path:
    """Train a byte-level BPE tokenizer on a few texts, save it with a chat template, and return its folder.

    `added` are tokens of their own that are not special, as `<think>` is to most models. `words`: none is longer than a
    word; otherwise one may be as long as a text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(list(added))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos)
    fast.chat_template = template
    fast.save_pretrained(str(folder))
    return folder


class RunApi:
    """`run-api` in a process of its own."""

    def __init__(self, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log.open("w")
        self.log = log
        command = [sys.executable, "-c", "from atroposlib.cli.run_api import main; main()"]
        self._process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(self.port)], stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.close()
            raise

    def _wait_until_it_answers(self) -> None:
        for _ in range(600):
            try:
                self.get("/")
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"run-api did not start: {self.log.read_text()}")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"content-type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def register_trainer(self, *, batch_size: int, max_token_len: int, steps: int) -> None:
        """Register a trainer that pulls batches of so many rollouts, without checkpoints."""
        self.post(
            "/register",
            {
                "wandb_group": "g",
                "wandb_project": "p",
                "batch_size": batch_size,
                "max_token_len": max_token_len,
                "checkpoint_dir": "",
                "save_checkpoint_interval": 0,
                "starting_step": 0,
                "num_steps": steps,
            },
        )

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()


class Trainer:
    """Registers, and pulls batches in a thread until it has as many as it wants."""

    def __init__(
        self, api: RunApi, *, batches: int, batch_size: int = 4, max_token_len: int = 20_000, steps: int | None = None
    ) -> None:
        self._api = api
        self._wanted = batches
        self.batches: list[list[dict[str, Any]]] = []
        self._closing = threading.Event()
        api.register_trainer(batch_size=batch_size, max_token_len=max_token_len, steps=steps or batches)
        self._thread = threading.Thread(target=self._pull)
        self._thread.start()

    def _pull(self) -> None:
        while not self._closing.wait(0.1) and len(self.batches) < self._wanted:
            batch = self._api.get("/batch")["batch"]
            if batch:
                self.batches.append(batch)

    def wait(self) -> None:
        """Wait until it has its batches."""
        self._thread.join(60)
        assert len(self.batches) == self._wanted, f"{len(self.batches)} of {self._wanted} batches came"

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

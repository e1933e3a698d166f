"""Training on the very tokens that were sampled, over the real run-api."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from pytest_hermes.models.tokens.trace import IGNORED, TokenTrace
from pytest_hermes.models.tokens.trace_validation import problems
from pytest_hermes.rollout.record import AttemptRecord
from tests.atropos.test_serve import ENV
from tests.services.bench import Bench
from tests.services.chat_families import FAMILIES
from tests.services.loopback_server import LoopbackServer
from tests.services.run_api import RunApi, Trainer
from tests.services.token_server import TokenServer

pytestmark = pytest.mark.usefixtures("atropos")

ITEM = {"id": "one", "prompt": "Go."}

CALL = '<tool_call>\n{"name":  "terminal", "arguments": {"command": "echo WORD > out.txt"}}\n</tool_call><|im_end|>'


@pytest.fixture(scope="module")
def qwen(atropos: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES["qwen"].make(tmp_path_factory.mktemp("qwen"))


@pytest.fixture
def token_server(qwen: Path) -> Iterator[Callable[[Any], TokenServer]]:
    """Starts a server that samples for a model of the Qwen family."""
    from transformers import AutoTokenizer

    started: list[TokenServer] = []

    def start(dialect: Any) -> TokenServer:
        started.append(TokenServer(AutoTokenizer.from_pretrained(str(qwen)), dialect))
        return started[-1]

    yield start
    for one in started:
        one.close()


def half_right() -> Callable[[str], str]:
    """A model of which every other agent writes the file, and all of which think."""
    agents = itertools.count()
    lock = threading.Lock()

    def script(prompt: str) -> str:
        if "</tool_response>" in prompt:
            return "<think>\nthere\n</think>\n\nDone. <|im_end|>"
        with lock:
            word = "hello" if next(agents) % 2 else "nothing"
        return "<think>\na file\n</think>\n\n" + CALL.replace("WORD", word)

    return script


Span = tuple[tuple[int, ...], tuple[float, ...]]


def emitted(server: TokenServer) -> set[Span]:
    return {(tuple(one.ids), tuple(one.logprobs)) for one in server.emitted}


def spans(tokens: list[int], masks: list[int], logprobs: list[float]) -> list[Span]:
    rows = zip(tokens, masks, logprobs, strict=True)
    runs = [list(run) for sampled, run in itertools.groupby(rows, lambda row: row[1] != IGNORED) if sampled]
    return [(tuple(row[0] for row in run), tuple(row[2] for row in run)) for run in runs]


def test_a_trainer_gets_what_was_sampled(
    bench: Bench, run_api: RunApi, trainer: Callable[..., Trainer], token_server: Any, qwen: Path
) -> None:
    server = token_server("vllm_generate")
    server.script = half_right()
    bench.file("my_env.py", ENV)
    bench.env(HF_HUB_OFFLINE="1", MODEL_URL=server.url)
    trained = trainer(batches=2)
    code, output = bench.python(
        "my_env.py", "serve", "--env.rollout_server_url", run_api.url, "--env.tokenizer_name", str(qwen),
        "--env.total_steps", "1", "--openai.server_type", "vllm", "--env.tool_call_parser", "qwen",
    )  # fmt: skip
    assert code == 0, output
    assert "token-exact requests (vllm_generate)" in output
    trained.wait()
    told = emitted(server)
    for group in itertools.chain(*trained.batches):
        assert group["generation_params"]["token_source"] == "sampled"
        for tokens, masks, logprobs in zip(group["tokens"], group["masks"], group["inference_logprobs"], strict=True):
            found = spans(tokens, masks, logprobs)
            assert len(found) == 2
            assert told.issuperset(found)
            assert {logprob for logprob, mask in zip(logprobs, masks, strict=True) if mask == IGNORED} == {1.0}


def test_traces_are_written_and_read_back(
    bench: Bench, token_server: Any, qwen: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = token_server("sglang")
    server.script = half_right()
    bench.file("my_env.py", ENV)
    bench.env(HF_HUB_OFFLINE="1", MODEL_URL=server.url)
    arguments = [
        "my_env.py", "process", "--env.tokenizer_name", str(qwen), "--env.data_path_to_save_groups", "out.jsonl",
        "--env.total_steps", "1", "--openai.server_type", "sglang", "--env.tool_call_parser", "qwen",
    ]  # fmt: skip
    status, output = bench.python(*arguments)
    assert status == 0, output
    lines = [json.loads(line) for line in (bench.path / "out.jsonl").read_text().splitlines()]
    assert sorted(line["reward"] for line in lines) == [0.0, 1.0]
    read = []
    for line in lines:
        trace = TokenTrace.from_json(line["trace"])
        assert problems(trace, line["reward"]) == []
        (segment,) = trace.segments
        assert (line["tokens"], line["masks"]) == (segment.tokens, segment.masks)
        assert [message.get("reasoning_content") for message in line["messages"]] == [None, "a file", None, "there"]
        read += spans(segment.tokens, segment.masks, segment.inference_logprobs())
    assert set(read) == emitted(server)
    # The documentation's exporter gives the same.
    text = (Path(__file__).parents[2] / "docs" / "rl-reference.md").read_text()
    code = text[text.index("import json\n\nfrom pytest_hermes.models.tokens") :].partition("```")[0]
    documented: dict[str, Any] = {}
    exec(code, documented)
    samples = list(documented["samples"](bench.path / "out.jsonl"))
    assert {(tuple(one["response_ids"]), tuple(one["response_logprobs"])) for one in samples} == set(read)
    assert {tuple(one["prompt_ids"]) for one in samples} == {tuple(one.prompt) for one in server.emitted}

    # What no server of this kind takes is told before anybody is asked.
    from pytest_hermes.atropos.main import main

    asked = len(server.emitted)
    arguments[0] = f"{bench.path}/my_env.py:MyEnv"
    assert main([*arguments, "--env.extra_body", '{"truncate_prompt_tokens": 10}']) == 2
    assert "unknown parameter 'truncate_prompt_tokens'" in capsys.readouterr().err
    assert main([*arguments, "--env.tool_call_parser", "qwn"]) == 2
    assert "did you mean 'qwen'?" in capsys.readouterr().err
    assert len(server.emitted) == asked


@pytest_asyncio.fixture
async def env(token_server: Any, qwen: Path) -> AsyncIterator[Any]:
    from pytest_hermes.atropos import HermesAgentBaseEnv, HermesAgentEnvConfig
    from pytest_hermes.atropos.env_config import ServerConfig

    class Env(HermesAgentBaseEnv):
        name = "exact"
        scripted: TokenServer

        async def get_next_item(self) -> Any:
            return ITEM

        async def evaluate(self, *args: Any, **kwargs: Any) -> None:
            pass

        def format_prompt(self, item: Any) -> str:
            return str(item["prompt"])

        async def compute_reward(self, item: Any, result: Any, ctx: Any) -> float:
            return float(result.messages[-1]["content"])

    server = token_server("completions")
    config = HermesAgentEnvConfig.model_validate(
        {
            "enabled_toolsets": ["terminal"],
            "tokenizer_name": str(qwen),
            "tool_call_parser": "qwen",
            "group_size": 3,
            "use_wandb": False,
        }
    )
    env = Env(config, [ServerConfig(base_url=server.url, model_name="m", server_type="vllm")])
    env.scripted = server
    env.mode = "serve"
    yield env
    await env.close()


async def test_a_short_group_is_filled_up_with_what_teaches_nothing(env: Any) -> None:
    from pytest_hermes.atropos.scored_rollout import group_in

    env.config.short_groups = "pad_none"
    texts = iter(["1<|im_end|>", "not a number<|im_end|>", "0.5<|im_end|>"])
    env.scripted.script = lambda prompt: next(texts)
    group, backlog = await env.collect_trajectories(ITEM)
    assert sorted(group["scores"]) == [0.5, 0.75, 1.0]
    assert group["scores"][2] == 0.75
    assert group["tokens"][2] in group["tokens"][:2]
    # The run-api takes no None; so Atropos's trainers know a row that stands for nothing.
    assert group["overrides"] == [{}, {}, {"set_advantage_to_zero": True}]
    assert group["messages"][2] == []
    assert (backlog, group_in(group).padded, env.ledger.rows_padded) == ([], 1, 1)
    # Three times 0.1 is not 0.3 to a computer; a group without a signal stays one.
    env.config.group_size = 4
    texts = iter(["0.1<|im_end|>"] * 3 + ["not a number<|im_end|>"])
    group, _ = await env.collect_trajectories(ITEM)
    assert set(group["scores"]) == {0.1}
    env.config.group_size = 3

    env.config.short_groups = "drop"
    texts = iter(["1<|im_end|>", "not a number<|im_end|>", "0.5<|im_end|>"])
    assert await env.collect_trajectories(ITEM) == (None, [])
    assert env.trainer.groups_dropped == {"short": 1}


async def test_what_is_not_valid_is_rejected_and_counted(
    env: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from pytest_hermes.atropos.totals import in_words

    env.config.short_groups = "drop"
    env.scripted.script = lambda prompt: "1<|im_end|>"
    rollout = env.rollout
    corrupted = itertools.count()

    async def corrupting(item: Any) -> Any:
        found = await rollout(item)
        if next(corrupted) == 0:
            found.result.trace.segments[0].tokens[0] += 1
        return found

    monkeypatch.setattr(env, "rollout", corrupting)
    assert await env.collect_trajectories(ITEM) == (None, [])
    assert env.runner.traces_rejected == 1
    assert in_words(env) == "0 groups sent, 1 dropped short, traces rejected: 1"
    assert "trace: segment 0: turn 0 does not match what the server was sent and returned" in caplog.text


async def test_what_a_server_does_not_tell_is_rejected_and_counted(env: Any, caplog: pytest.LogCaptureFixture) -> None:
    env.config.short_groups = "drop"
    env.scripted.script = lambda prompt: "1<|im_end|>"

    def without_one(answer: Any) -> Any:
        answer["choices"][0]["logprobs"]["token_logprobs"].pop()
        return answer

    env.scripted.spoil = without_one
    assert await env.collect_trajectories(ITEM) == (None, [])
    assert env.runner.traces_rejected == 3
    assert "tokens: the server returned 1 logprobs for 2 sampled tokens" in caplog.text


async def test_a_sequence_ends_below_the_trainers_limit(env: Any) -> None:
    from pytest_hermes.atropos.scored_group import why_not

    env.scripted.script = lambda prompt: "1" * 50 + "<|im_end|>"
    env.max_token_len = 20_000
    group, _ = await env.collect_trajectories(ITEM)
    longest = max(map(len, group["tokens"]))
    env.max_token_len = longest - 10
    group, _ = await env.collect_trajectories(ITEM)
    assert {len(row) for row in group["tokens"]} == {longest - 11}
    assert {one.finish_reason for one in env.scripted.emitted[3:]} == {"length"}
    assert why_not(group | {"scores": [0, 1, 1]}, size=3, below=longest - 10, scores_differ=True) is None


async def test_all_segments_of_a_rollout_are_trained_on(
    env: Any, run_api: RunApi, trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that forgets begins a new sequence; both have the advantage of its rollout."""
    rewards = iter([1, 2, 4])

    async def forgetful(item: Any) -> Any:
        reward = next(rewards)
        model = env.runner.source.for_task(None)
        output: list[dict[str, Any]] = [{"role": "user", "content": f"{reward} Go."}]
        # The last one forgets twice, the first one never.
        for _ in range({1: 1, 2: 2, 4: 3}[reward]):
            await model.chat_completion(messages=output)
            output = [{"role": "user", "content": f"{output[0]['content']} Again."}]
        now = datetime.now(UTC)
        record = AttemptRecord(
            run_id="r", benchmark="b", task="t", status="passed", reward=reward, model="m", backend="local",
            started=now, ended=now,
        )  # fmt: skip
        return SimpleNamespace(record=record, result=SimpleNamespace(messages=output, trace=model.trace))

    monkeypatch.setattr(env, "rollout", forgetful)
    env.scripted.script = lambda prompt: "Yes" * prompt.count(" ") + "<|im_end|>"
    env.trainer.api.url = run_api.url
    trained = trainer(batches=3, batch_size=3)
    await env.register_env()
    await env.get_server_info()
    group, _ = await env.collect_trajectories(ITEM)
    await env.handle_send_to_api(group, ITEM)
    trained.wait()
    groups = list(itertools.chain(*trained.batches))
    assert {tuple(group["scores"]) for group in groups} == {(1.0, 2.0, 4.0)}
    assert len({group["generation_params"]["group"] for group in groups}) == 1
    rows = []
    for group in groups:
        overrides = group["overrides"] or [{}] * 3
        for index, score in enumerate(group["scores"]):
            row = [group[name][index] for name in ("tokens", "masks", "inference_logprobs")]
            assert len(set(map(len, row))) == 1
            if not overrides[index].get("set_advantage_to_zero"):
                rows.append((score, *spans(*row)))
    assert sorted(score for score, _ in rows) == [1.0, 2.0, 2.0, 4.0, 4.0, 4.0]
    # Each answer once, and each of them as it was sampled.
    assert sorted(span for _, span in rows) == sorted(emitted(env.scripted))
    assert (env.trainer.groups_sent, env.trainer.groups_dropped) == (3, {})


async def test_a_first_prompt_that_is_too_long_is_told(env: Any, caplog: pytest.LogCaptureFixture) -> None:
    env.scripted.script = lambda prompt: "1<|im_end|>"
    env.config.short_groups = "drop"
    env.max_token_len = 10
    # The reward is what stands last.
    assert await env.collect_trajectories({**ITEM, "prompt": "1"}) == (None, [])
    assert "its first prompt has more than the 9 tokens that a sequence may have" in caplog.text


async def test_two_servers_load_their_tokenizer_once(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def load(name: str) -> tuple[Any, str]:
        time.sleep(0.1)
        loaded.append(object())
        return loaded[-1], ""

    monkeypatch.setattr("pytest_hermes.atropos.tokenizer._load", load)
    found = await asyncio.gather(*(asyncio.to_thread(env.tokenizers.find) for _ in range(2)))
    assert found == loaded * 2


async def test_a_judge_is_asked_by_token_ids_as_well(env: Any) -> None:
    env.scripted.script = lambda prompt: "It is fine.<|im_end|>"
    output = await env.server.chat_completion(messages=[{"role": "user", "content": "Well?"}])
    assert output.choices[0].message.content == "It is fine."


@contextlib.contextmanager
def answered_by(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Yield the address of a server that leaves it to `answer` what becomes of each request, whose body is read."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            answer(self)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = LoopbackServer(Handler)
    try:
        yield server.url
    finally:
        server.stop()


PAIR = {"tokens": [[1], [2]], "masks": [[1], [2]], "scores": [0.0, 1.0], "group_overrides": {"group_size": 2}}


@pytest.mark.parametrize("breaks", [True, False])
async def test_a_group_that_may_have_been_taken_is_not_sent_again(env: Any, breaks: bool) -> None:
    taken = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        taken.append(request.path)
        if breaks:
            request.connection.close()
            request.close_connection = True
        else:
            request.send_response(500)
            request.end_headers()

    with answered_by(answer) as env.trainer.api.url:
        await env.handle_send_to_api(PAIR, ITEM)
    assert taken == ["/scored_data"]
    assert env.trainer.groups_dropped == {"not taken": 1}


async def test_a_group_on_its_way_arrives_though_its_worker_is_cancelled(env: Any) -> None:
    """Atropos cancels its workers as soon as the trainer has enough."""
    from pytest_hermes.atropos.totals import in_words

    arrives, answers = threading.Event(), threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        arrives.set()
        answers.wait(60)
        request.send_response(200)
        request.end_headers()
        request.wfile.write(b"{}")

    with answered_by(answer) as env.trainer.api.url:
        worker = asyncio.create_task(env.handle_send_to_api(PAIR, ITEM))
        await asyncio.to_thread(arrives.wait, 60)
        worker.cancel()
        await asyncio.sleep(0)
        answers.set()
        with pytest.raises(asyncio.CancelledError):
            await worker
    assert in_words(env) == "1 group sent"

"""A training that is killed at any instant and started again sends no group twice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_hermes.errors import UsageError
from tests.services.bench import Bench
from tests.services.full_disk import full_disk
from tests.services.loopback_server import LoopbackServer
from tests.services.run_api import RunApi, Trainer

pytestmark = pytest.mark.usefixtures("atropos")

ITEMS = 16

ENV = f"""
import asyncio
import itertools
from pytest_hermes.atropos import HermesAgentBaseEnv, HermesAgentEnvConfig
from pytest_hermes.atropos.env_config import ServerConfig

# Atropos waits five seconds for other environments before it begins.
sleep = asyncio.sleep
asyncio.sleep = lambda seconds, *more: sleep(0 if seconds == 5 else seconds, *more)


class Env(HermesAgentBaseEnv):
    name = "killed"

    @classmethod
    def config_init(cls):
        return HermesAgentEnvConfig(group_size=2, max_num_workers=3, use_wandb=False), [ServerConfig(model_name="nop")]

    async def setup(self):
        self.left = [{{"id": f"item-{{n}}", "prompt": f"Do {{n}}."}} for n in range({ITEMS})]
        self.rewards = itertools.count()

    async def get_next_item(self):
        return self.left.pop(0) if self.left else None

    def format_prompt(self, item):
        return item["prompt"]

    async def compute_reward(self, item, result, ctx):
        return float(next(self.rewards))

    async def evaluate(self, *args, **kwargs):
        pass


Env.cli()
"""


class KillingProxy:
    """Stands before a run-api and kills who sends a group, at an instant that `instants` names in turn.

    `never`: not this one; `before`: the run-api never gets the group; `after`: it has it, and nobody hears of it; a
    number: so many seconds later.
    """

    def __init__(self, target: str, instants: Iterator[str | float]) -> None:
        self.victim: subprocess.Popen[str] | None = None
        self.sent = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass_on()

            def do_POST(self) -> None:
                instant = next(instants) if self.path.startswith("/scored_data") else "never"
                proxy.sent += self.path.startswith("/scored_data")
                if instant == "before":
                    proxy.kill()
                    self.close_connection = True
                elif instant == "after":
                    self._pass_on(answered=False)
                    proxy.kill()
                    self.close_connection = True
                else:
                    if instant != "never":
                        threading.Timer(float(instant), proxy.kill).start()
                    self._pass_on()

            def _pass_on(self, *, answered: bool = True) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name: value for name, value in self.headers.items() if name.lower().startswith("content-")}
                request = urllib.request.Request(target + self.path, body or None, headers, method=self.command)
                try:
                    with urllib.request.urlopen(request, timeout=10) as answer:
                        status, output = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    status, output = error.code, error.read()
                if not answered:
                    return
                try:
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(output)))
                    self.end_headers()
                    self.wfile.write(output)
                except ConnectionError:  # it was killed
                    self.close_connection = True

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = LoopbackServer(Handler)
        self.url = self._server.url

    def kill(self) -> None:
        assert self.victim is not None
        self.victim.kill()

    def close(self) -> None:
        self._server.stop()


def test_no_group_is_sent_twice_whenever_a_run_is_killed(
    bench: Bench, run_api: RunApi, trainer: Callable[..., Trainer], tokenizer_folder: Path
) -> None:
    bench.file("my_env.py", ENV)
    bench.env(HF_HUB_OFFLINE="1")
    seed = random.randrange(1000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    # A few groups each, and then the next instant.
    either: list[str | float] = ["before", chance.uniform(0, 0.05)]
    kills = ["after", chance.choice(either)]
    instants = itertools.chain.from_iterable(["never"] * chance.randrange(1, 4) + [kill] for kill in kills)
    proxy = KillingProxy(run_api.url, itertools.chain(instants, itertools.repeat("never")))
    trained = trainer(batches=ITEMS + 1, batch_size=2, steps=1000)
    try:
        for kill in [*kills, "never"]:
            process = proxy.victim = bench.start_python(
                "my_env.py", "serve", "--env.rollout_server_url", proxy.url, "--env.sent_groups", "sent.jsonl",
                "--env.tokenizer_name", str(tokenizer_folder),
            )  # fmt: skip
            output, _ = process.communicate(timeout=120)
            if kill == "never":  # it has nothing more to do
                assert "get_next_item() returns no more items" in output
            else:
                assert process.returncode == -9, output
    finally:
        proxy.close()
        time.sleep(0.5)
        trained.close()
    groups = list(itertools.chain(*trained.batches))
    items = Counter(group["messages"][0][0]["content"] for group in groups)
    ids = Counter(group["generation_params"]["group"] for group in groups)
    assert set(items.values()) == set(ids.values()) == {1}
    lines = map(json.loads, (bench.path / "sent.jsonl").read_text().splitlines())
    noted = [line for line in lines if "task" in line]
    last = {line["task"]: line["state"] for line in noted}
    # All were worked on, and only what was on its way when a run was killed may be lost.
    assert set(last) == {f"item-{n}" for n in range(ITEMS)}
    lost = ITEMS - len(groups)
    assert lost <= sum(state == "sending" for state in last.values())
    assert "groups recorded in sent.jsonl, which are not sent again" in output
    # Each run ended the one before at the run-api, which was killed, and the last one ended itself.
    assert run_api.log.read_text().count("POST /disconnect-env") == len(kills) + 1


def test_only_ones_own_registration_is_ended(tmp_path: Path) -> None:
    from pytest_hermes.atropos.ledger_file import LedgerFile, Registration

    path = tmp_path / "sent.jsonl"
    first = Registration("http://a", 1, "my_env_0", 5)
    ended = []
    for now in (
        first,
        second := Registration("http://a", 3, "my_env_1", 9),
        # A run-api that was started anew, whose numbers others may have.
        Registration("http://a", 0, "my_env_0", 9),
        Registration("http://a", 1, "my_env_0", 9),
        Registration("http://a", 2, "my_env_1", 0),
        Registration("http://b", 4, "my_env_2", 9),
        Registration("http://b", 5, "other_3", 9),
    ):
        sent = LedgerFile(path)
        ended.append(sent.register(now))
        assert len(sent) == 0
        sent.close()
    assert ended == [None, first, None, None, None, None, None]
    assert second.replaces(first)


async def test_notes(tmp_path: Path) -> None:
    from pytest_hermes.atropos.ledger import GroupLedger
    from pytest_hermes.atropos.ledger_file import LedgerFile

    path = tmp_path / "deep" / "sent.jsonl"
    ledger = GroupLedger(lambda item: str(item["id"]), stop=lambda reason: None)
    ledger.open_notes(path)
    with pytest.raises(UsageError, match="another run is writing to"):
        LedgerFile(path)
    item = {"id": "a"}
    with ledger.worked_on(item, noted=True) as first:
        ledger.note("sending")

    def break_off(*, sending: bool) -> Any:
        with contextlib.suppress(KeyError), ledger.worked_on(item, noted=True) as group:
            if sending:
                ledger.note("sending")
            raise KeyError
        return group

    broken_off = break_off(sending=True)
    # What was not noted is the same group when it is tried again.
    second = break_off(sending=False)
    with ledger.worked_on(item, noted=True) as again:
        assert again is second
    assert len({first.id, broken_off.id, second.id}) == 3
    # What an evaluation works on is none of these.
    with ledger.worked_on(item) as other_one:
        ledger.note("sending")
        assert other_one.sample is None

    # Who is cancelled may take long to close its sandboxes; the next one to work on the item does not wait for that.
    async def work(until: asyncio.Event, closed: asyncio.Event) -> Any:
        with ledger.worked_on(other, noted=True) as group:
            assert group.sample is not None
            numbers.append(group.sample.number)
            try:
                await until.wait()
            finally:
                await closed.wait()

    numbers: list[int] = []
    other, begun, closed = {"id": "c"}, asyncio.Event(), asyncio.Event()
    cancelled = asyncio.create_task(work(asyncio.Event(), closed))
    beside = asyncio.create_task(work(begun, begun))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    next_one = asyncio.create_task(work(begun, begun))
    await asyncio.sleep(0)
    begun.set()
    closed.set()
    await asyncio.wait({cancelled, beside, next_one})
    assert numbers == [0, 1, 0]
    with ledger.worked_on(other, noted=True) as last:
        assert last.sample is not None
        assert last.sample.number == 2
    ledger.close()
    with path.open("ab") as file:  # the power failed
        file.write(b'{"task": "b", "numb')
    sent = LedgerFile(path)
    assert (len(sent), sent.in_doubt) == (2, 2)
    assert [sent.sample("a") for _ in range(3)] == [None, None, second.sample]
    sent.close()
    other_file = tmp_path / "other.jsonl"
    other_file.write_text('{"messages": []}\n')
    with pytest.raises(UsageError, match="is not a file of sent groups"):
        LedgerFile(other_file)


async def test_what_cannot_be_noted_ends_the_run(tmp_path: Path) -> None:
    from pytest_hermes.atropos.ending import Ending, RunFailed
    from pytest_hermes.atropos.ledger import GroupLedger

    ending = Ending()
    ledger = GroupLedger(lambda item: str(item), ending.stop)
    ledger.open_notes(tmp_path / "sent.jsonl")
    cleaned_up = []

    async def work() -> None:
        with ledger.worked_on("a", noted=True), full_disk(tmp_path / "sent.jsonl", room=9):
            with pytest.raises(RunFailed):
                ledger.note("sending")
            try:
                await asyncio.sleep(60)
            finally:
                cleaned_up.append(1)

    with pytest.raises(RunFailed, match=r"cannot record sent groups in .*sent.jsonl: File too large"):
        await ending.until_stopped(work())
    assert cleaned_up == [1]
    # With nothing that runs, whoever finds it is told.
    with pytest.raises(RunFailed, match="again"):
        ending.stop(RunFailed("again"))
    ledger.close()


def test_a_full_disk_loses_no_note(tmp_path: Path) -> None:
    from pytest_hermes.atropos.ledger_file import LedgerFile

    path = tmp_path / "sent.jsonl"
    with full_disk(path, room=9), pytest.raises(UsageError, match=r"sent_groups: cannot write .*: File too large"):
        LedgerFile(path)
    sent = LedgerFile(path)
    first, second, third = (sent.sample("a") for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    sent.note(first, "sending")
    with full_disk(path, room=9), pytest.raises(OSError, match="File too large"):
        sent.note(second, "sending")
    # There is room again, and no half line in the way.
    sent.note(third, "sending")
    sent.close()
    sent = LedgerFile(path)
    assert [sent.sample("a") for _ in range(3)] == [None, second, None]
    sent.note(second, "sending")
    sent.close()
    sent = LedgerFile(path)
    assert [sent.sample("a") for _ in range(3)] == [None, None, None]
    sent.close()


@settings(max_examples=50, deadline=None)
@given(runs=st.lists(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=6), max_size=5))
def test_no_recorded_sample_is_handed_out(runs: list[list[tuple[str, bool]]], tmp_path_factory: Any) -> None:
    from pytest_hermes.atropos.ledger_file import LedgerFile

    path = tmp_path_factory.mktemp("sent") / "sent.jsonl"
    noted: set[str] = set()
    for run in runs:
        sent = LedgerFile(path)
        for task, sending in run:
            sample = sent.sample(task)
            assert sample is None or sample.group not in noted
            if sample is not None and sending:
                sent.note(sample, "sending")
                noted.add(sample.group)
        assert len(sent) == len(noted)
        sent.close()

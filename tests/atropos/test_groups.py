"""Groups of rollouts: what one that fails costs the others, and what is sent of them."""

from __future__ import annotations

import asyncio
import copy
import json
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_hermes.errors import InfrastructureError, UsageError
from tests.services.full_disk import full_disk
from tests.services.model_server import ModelServer, Reply, completion
from tests.services.run_api import RunApi, Trainer

pytestmark = pytest.mark.usefixtures("atropos")


def make_env(url: str, **fields: Any) -> Any:
    from atroposlib.envs.server_handling.server_manager import APIServerConfig

    from pytest_hermes.atropos import HermesAgentBaseEnv, HermesAgentEnvConfig

    class Env(HermesAgentBaseEnv):
        name = "groups"

        async def get_next_item(self) -> Any:
            return {"id": "one", "prompt": "Go."}

        def format_prompt(self, item: Any) -> str:
            return str(item["prompt"])

        async def compute_reward(self, item: Any, result: Any, ctx: Any) -> float:
            reply = result.messages[-1]["content"]
            if reply == "raise":
                raise LookupError("the verifier is broken")
            return float(reply)

        async def evaluate(self, *args: Any, **kwargs: Any) -> None:
            pass

    config = HermesAgentEnvConfig(enabled_toolsets=["terminal"], **{"group_size": 3, "use_wandb": False, **fields})
    return Env(config, [APIServerConfig(base_url=url, model_name="m", server_type="openai")])


@pytest_asyncio.fixture
async def env(model_server: ModelServer, tokenizer_folder: Path) -> AsyncIterator[Any]:
    env = make_env(model_server.url, tokenizer_name=str(tokenizer_folder))
    yield env
    await env.close()


def answers(server: ModelServer, *texts: str) -> None:
    left = list(texts)
    server.script = lambda body: completion(left.pop(0) if len(left) > 1 else left[0])


async def test_a_rollout_that_raises_leaves_the_others(env: Any, model_server: ModelServer) -> None:
    answers(model_server, "1", "raise", "0.5")
    env.mode = "process"
    group, backlog = await env.collect_trajectories({"id": "one", "prompt": "Go."})
    assert sorted(group["scores"]) == [0.5, 1.0]
    assert backlog == []


async def test_wandbs_tables_show_calls_and_results(env: Any, model_server: ModelServer) -> None:
    env.config.num_rollouts_per_group_for_logging = 2
    model_server.play(completion("Let me look.", ("terminal", {"command": "echo h$((40 + 2))"})), completion("0.5"))
    group, _ = await env.collect_trajectories({"id": "one", "prompt": "Go."})
    await env.add_rollouts_for_wandb(group)
    ((first, score), _) = env.rollouts_for_wandb[-1]
    assert score == 0.5
    for part in (
        "[user]\nGo.",
        "Let me look.",
        'terminal({"command": "echo h$((40 + 2))"})',
        "h42",
        "[assistant]\n0.5",
    ):
        assert part in first


async def test_a_table_costs_no_group_and_a_full_disk_ends_the_run(
    env: Any, model_server: ModelServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from pytest_hermes.atropos.ending import RunFailed
    from pytest_hermes.atropos.trajectory_file import TrajectoryFile

    path = tmp_path / "out.jsonl"
    env.trajectories = TrajectoryFile(path, env.redactor, env="groups", stop=env.ending.stop)
    env.format = lambda messages: messages[99]
    answers(model_server, "1", "0", "1")
    group, _ = await env.collect_trajectories({"id": "one", "prompt": "Go."})
    await env.handle_send_to_api(group, do_send_to_api=False)
    assert env.trajectories.lines == 3
    assert "a group is missing from wandb's tables: IndexError" in caplog.text
    whole = path.read_bytes()
    with full_disk(path, room=99), pytest.raises(RunFailed, match=r"cannot write .*out.jsonl: File too large"):
        await env.handle_send_to_api(group, do_send_to_api=False)
    assert path.read_bytes() == whole


async def test_groups_at_once_share_the_slots(env: Any, model_server: ModelServer) -> None:
    env.config.max_num_workers = 1
    model_server.script = lambda body: Reply(body=json.dumps(completion("1")), mood="late", seconds=0.1)
    groups = await asyncio.gather(*(env.collect_trajectories({"id": str(n), "prompt": "Go."}) for n in range(4)))
    assert [group["scores"] for group, _ in groups] == [[1.0] * 3] * 4
    assert model_server.peak == 3


async def test_tools_are_resolved_once_a_group(env: Any, model_server: ModelServer) -> None:
    resolved = []

    def resolve() -> Any:
        schemas, names = type(env)._resolve_tools_for_group(env)
        resolved.append(names)
        return [schema for schema in schemas if schema["function"]["name"] == "terminal"], {"terminal"}

    env._resolve_tools_for_group = resolve
    env.config.enabled_toolsets = None
    answers(model_server, "1")
    await env.collect_trajectories({"id": "one", "prompt": "Go."})
    assert len(resolved) == 1
    assert {"terminal", "read_file"} <= resolved[0]
    for request in model_server.requests:
        assert [tool["function"]["name"] for tool in request.body["tools"]] == ["terminal"]


async def test_while_training_a_short_group_is_tried_once_more(
    env: Any, model_server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    item = {"id": "one", "prompt": "Go."}
    answers(model_server, "1", "1", "raise", "1", "1", "raise", "1", "0", "1")
    env.mode = "serve"
    assert await env.collect_trajectories(item) == (None, [item])
    assert await env.collect_trajectories(item) == (None, [])
    assert env.trainer.groups_dropped == {"short": 1}
    assert "1 of the 3 rollouts of one failed: verifier: compute_reward raised LookupError" in caplog.text
    group, _ = await env.collect_trajectories(item)
    assert len(group["scores"]) == 3


async def test_groups_of_one_object_are_each_tried_once_more(env: Any, model_server: ModelServer) -> None:
    """As of an environment that has but one item."""
    item = {"id": "one", "prompt": "Go."}
    env.mode, env.config.group_size = "serve", 1
    answers(model_server, "raise")
    both = await asyncio.gather(*(env.collect_trajectories(item) for _ in range(2)))
    assert both == [(None, [item]), (None, [item])]
    begun = asyncio.create_task(env.collect_trajectories(item))
    await asyncio.sleep(0)
    # The trainer has enough for now: it is worked on later, and is the second try still.
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun
    assert [await env.collect_trajectories(item) for _ in range(2)] == [(None, []), (None, [])]
    assert env.trainer.groups_dropped == {"short": 2}
    assert await env.collect_trajectories(item) == (None, [item])


async def test_a_group_that_is_dropped_is_noted(
    env: Any, model_server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one whose rollouts failed, or whose scores are equal; one that was not taken stays in doubt."""
    env.mode, env.config.short_groups = "serve", "drop"
    env.trainer.api.url = "http://127.0.0.1:9"
    env.trainer.api._reached = True
    monkeypatch.setattr("pytest_hermes.atropos.run_api._WAITS", ())
    env.ledger.open_notes(tmp_path / "sent.jsonl")
    for number, reply in enumerate((["raise"], ["1"], ["0", "1"])):
        answers(model_server, *reply)
        env.running_items[number] = {"item": {"id": str(number), "prompt": "Go."}}
        await env.handle_env(number)
    assert env.trainer.groups_dropped == {"short": 1, "with equal scores": 1, "not taken": 1}
    lines = map(json.loads, (tmp_path / "sent.jsonl").read_text().splitlines())
    states = {line["task"]: line["state"] for line in lines if "task" in line}
    assert states == {"0": "dropped", "1": "dropped", "2": "sending"}


async def test_a_subclass_may_change_a_row(env: Any, model_server: ModelServer, tmp_path: Path) -> None:
    """What it was made of is known still, and so stands in the line that is written of it."""
    from pytest_hermes.atropos.trajectory_file import TrajectoryFile

    collect_trajectory = env.collect_trajectory

    async def changed(item: Any) -> tuple[dict[str, Any], list[Any]]:
        row, backlog = await collect_trajectory(item)
        return {**row, "scores": row["scores"] + 1}, backlog

    env.collect_trajectory = changed
    path = tmp_path / "out.jsonl"
    env.trajectories = TrajectoryFile(path, env.redactor, env="groups", stop=env.ending.stop)
    answers(model_server, "0", "1", "1")
    group, _ = await env.collect_trajectories({"id": "one", "prompt": "Go."})
    await env.handle_send_to_api({**group}, do_send_to_api=False)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(line["reward"] for line in lines) == [1.0, 2.0, 2.0]
    assert {(line["task"], line["metadata"]["stop_reason"]) for line in lines} == {("one", "finished")}
    assert {line["group"] for line in lines} == {group["generation_params"]["group"]}
    assert "terminal" in [tool["function"]["name"] for tool in lines[0]["tools"]]


async def test_rollouts_that_all_fail_end_the_run(env: Any, model_server: ModelServer) -> None:
    from pytest_hermes.atropos.ending import RunFailed

    model_server.script = lambda body: Reply(400, '{"error": {"message": "no tools here"}}')
    for _ in range(2):
        await env.collect_trajectories({"id": "one", "prompt": "Go."})
    with pytest.raises(RunFailed, match=r"the last 8 rollouts all failed, .*: endpoint: .*no tools"):
        await env.collect_trajectories({"id": "one", "prompt": "Go."})


async def test_a_users_own_trajectories_keep_their_logprobs(env: Any, run_api: RunApi, trainer: Any) -> None:
    """What a subclass gives goes to the trainer as it is, over the real server."""
    made = iter(range(1, 100))

    async def collect_trajectory(item: Any) -> tuple[dict[str, Any], list[Any]]:
        n = next(made)
        if n == 2:
            raise OSError("lost")
        messages = [{"role": "assistant", "tool_calls": []}]  # without `content`, which the server insists on
        return {
            "tokens": [1, n], "masks": [-100, n], "scores": float(n), "inference_logprobs": [1.0, -0.5 * n],
            "messages": messages,
        }, []  # fmt: skip

    env.collect_trajectory = collect_trajectory
    env.mode = "serve"
    env.trainer.api.url = run_api.url
    trained: Trainer = trainer(batches=1, batch_size=3)
    await env.register_env()
    await env.get_server_info()
    item = {"id": "one", "prompt": "Go."}
    none, backlog = await env.collect_trajectories(item)
    assert none is None
    group, _ = await env.collect_trajectories(backlog[0])
    await env.handle_send_to_api(group, item)
    trained.wait()
    (sent,) = trained.batches[0]
    assert sent["inference_logprobs"] == [[1.0, -2.0], [1.0, -2.5], [1.0, -3.0]]
    assert sent["scores"] == [4.0, 5.0, 6.0]
    # The server would take these.
    spoils: list[Callable[[Any], object]] = [
        lambda group: group["masks"].pop(),
        lambda group: group["masks"].__setitem__(0, [-100, -100]),
        lambda group: group["inference_logprobs"].__setitem__(1, [1.0]),
        lambda group: group["scores"].__setitem__(1, math.nan),
    ]
    for spoil in spoils:
        bad = copy.deepcopy(group)
        spoil(bad)
        await env.handle_send_to_api(bad, item)
    assert env.trainer.groups_dropped == {"invalid": 4}
    assert env.trainer.groups_sent == 1
    assert " 422 " not in run_api.log.read_text()


async def test_sequences_that_are_all_too_long_end_the_run(env: Any) -> None:
    from pytest_hermes.atropos.ending import RunFailed
    from pytest_hermes.atropos.trainer import DROPS_IN_A_ROW

    env.max_token_len = 3
    group = {"tokens": [[1, 2, 3]] * 3, "masks": [[-100, 2, 3]] * 3, "scores": [0.0, 0.5, 1.0]}
    for _ in range(DROPS_IN_A_ROW - 1):
        await env.handle_send_to_api(copy.deepcopy(group), None)
    # Equal scores are no fault of anybody.
    await env.handle_send_to_api({**group, "scores": [0.0] * 3}, None)
    assert env.trainer.groups_dropped == {"too long": 7, "with equal scores": 1}
    with pytest.raises(RunFailed, match=r"the last 8 groups were all dropped; .* 3 tokens, but the trainer"):
        await env.handle_send_to_api(group, None)


async def test_without_a_run_api_one_is_told_at_once() -> None:
    from pytest_hermes.atropos.run_api import RunApi as Client

    client = Client("http://127.0.0.1:9")
    try:
        with pytest.raises(
            UsageError, match=r"no run-api at http://127.0.0.1:9 \(Connection refused\); start one with `run-api`"
        ):
            await client.get("/")
        # Nor does one that is gone hold up the end of a run.
        client._reached = True
        await client.disconnect(0)
        assert not await client.answers()
    finally:
        await client.close()


async def test_a_run_api_that_was_started_anew_is_told(
    env: Any, run_api: RunApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_hermes.atropos.ending import RunFailed

    monkeypatch.setattr("pytest_hermes.atropos.run_api._WAITS", ())
    env.trainer.api.url = run_api.url
    run_api.register_trainer(batch_size=3, max_token_len=1000, steps=10)
    run_api.get("/batch")
    await env.register_env()
    env.curr_step = 3
    # Another environment may have its number by now, which it must not end.
    with pytest.raises(RunFailed, match=r"most likely because it was restarted \(step 0 after step 3\)"):
        await env.get_status()
    assert env.trainer.env_id is None
    await env.register_env()
    with pytest.raises(UsageError, match="is not a run-api: it answers 'Reset successful'"):
        await env.trainer.api.get("/reset_data")
    with pytest.raises(RunFailed, match=r"restarted \(.*HTTP 500.*\): start the trainer"):
        await env.get_status()


async def test_what_the_run_api_refuses_is_told_and_not_tried_again(run_api: RunApi) -> None:
    from pytest_hermes.atropos.run_api import RunApi as Client

    client = Client(run_api.url)
    try:
        with pytest.raises(InfrastructureError, match=r"refuses the request: HTTP 422.*tokens"):
            await client.post("/scored_data", {"scores": []})
        await client.find()
        client.url += "/v1"
        with pytest.raises(UsageError, match=r"no run-api at .*/v1: .*HTTP 404.*--env\.rollout_server_url"):
            await client.find()
    finally:
        await client.close()
    assert run_api.log.read_text().count("POST /scored_data") == 1


rows = st.lists(st.integers(0, 1000), min_size=1, max_size=8)


@st.composite
def groups(draw: Callable[..., Any]) -> dict[str, Any]:
    tokens = draw(st.lists(rows, min_size=1, max_size=4))
    trained = [[draw(st.booleans()) for _ in row] for row in tokens]
    for row in trained:
        row[-1] = True
    return {
        "tokens": tokens,
        "masks": [
            [token if on else -100 for token, on in zip(*pair, strict=True)]
            for pair in zip(tokens, trained, strict=True)
        ],
        "scores": [draw(st.floats(-1, 1)) for _ in tokens],
        "inference_logprobs": [[draw(st.floats(-9, 1)) for _ in row] for row in tokens],
        "messages": [[{"role": "user"}] for _ in tokens],
    }


@settings(max_examples=60)
@given(groups(), st.data())
def test_one_spoilt_value_is_always_found(group: dict[str, Any], data: st.DataObject) -> None:
    from pytest_hermes.atropos.scored_group import as_sent, problems

    size = len(group["tokens"])
    assert problems(group, size) == []
    json.dumps(as_sent(group), allow_nan=False)
    row = data.draw(st.integers(0, size - 1))
    position = data.draw(st.integers(0, len(group["tokens"][row]) - 1))
    spoilt: list[Callable[[], Any]] = [
        lambda: group["tokens"].pop(),
        lambda: group["tokens"][row].append(1),
        lambda: group["masks"][row].__setitem__(position, group["tokens"][row][position] + 1),
        lambda: group["masks"].__setitem__(row, [-100] * len(group["tokens"][row])),
        lambda: group["scores"].__setitem__(row, data.draw(st.sampled_from([math.nan, math.inf, None, True]))),
        lambda: group["inference_logprobs"][row].__setitem__(position, math.nan),
        lambda: group["inference_logprobs"][row].pop(),
        lambda: group["messages"][row][0].pop("role"),
    ]
    data.draw(st.sampled_from(spoilt))()
    assert problems(group, size) != []

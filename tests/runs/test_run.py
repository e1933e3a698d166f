"""A run that a script drives: no pytest session, no Atropos."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pytest_hermes import InfrastructureError, Rollout, UsageError
from pytest_hermes.runs import Options, Run, RunPlan, load
from pytest_hermes.runs.manifest import MANIFEST
from pytest_hermes.runs.results_file import read_results
from tests.services.model_server import ModelServer, Reply, completion


def running(argument: bytes) -> list[Path]:
    """Return the processes that have this in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            found += [path] * (argument in path.read_bytes())
    return found


def options(**more: Any) -> Options:
    return Options(**{"bench": ("terminal_test",), "model": "oracle", "limit": 3, **more})


async def test_it_yields_rollouts_as_they_end_and_writes_their_records(tmp_path: Path) -> None:
    plan = await load(options(attempts=2), cwd=tmp_path)
    seen = []
    async with Run(plan) as run:
        async for rollout in run:
            seen.append((rollout.record.task, rollout.record.attempt))
            assert rollout.record.status == "passed"
        path = run.results_path
    assert len(seen) == len(set(seen)) == 6
    assert path is not None
    assert path.is_relative_to(tmp_path / "hermes-runs")
    assert {(record.task, record.attempt) for record in read_results(path)} == set(seen)
    assert len(run.records) == 6
    assert run.progress.in_flight == 0
    # The lock is released, and the loop goes on.
    await asyncio.sleep(0)
    again = await load(options(attempts=2, resume=str(path.parent)), cwd=tmp_path)
    async with Run(again) as resumed:
        assert len([rollout async for rollout in resumed]) == 6
    assert len(list(read_results(path))) == 6


async def test_who_stops_early_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "from pytest_hermes import Benchmark, Task\n"
        "class Slow(Benchmark):\n"
        "    name = 'slow'\n"
        "    def tasks(self):\n"
        "        return [Task(id=f't{n}', prompt='x', solution=f'sleep {n and 987654}') for n in range(3)]\n"
        "    async def compute_reward(self, item, result, ctx): return 1.0\n"
    )
    plan = await load(options(bench=("slow.py:Slow",), run_dir="out"), cwd=tmp_path)
    async with Run(plan) as run:
        async for rollout in run:
            assert rollout.record.task == "t0"
            break
    assert not await asyncio.to_thread(running, b"987654")
    assert [record.task for record in read_results(tmp_path / "out" / "results.jsonl")] == ["t0"]


async def test_a_name_may_stand_for_a_list_of_one(tmp_path: Path) -> None:
    plan = await load(options(bench="terminal_test", task="create-file,edit-json", limit=None), cwd=tmp_path)
    assert sorted(attempt.planned.task.id for attempt in plan.attempts()) == ["create-file", "edit-json"]


async def test_what_cannot_be_run_is_one_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown benchmark 'nothing'"):
        await load(options(bench=("nothing",)), cwd=tmp_path)
    with pytest.raises(UsageError, match=r"Options\.task: unknown task 'nothing'"):
        await load(options(task=("nothing",)), cwd=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write results to"):
        async with Run(await load(options(run_dir="file/out"), cwd=tmp_path)):
            pass


async def test_a_refusal_ends_it(tmp_path: Path, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_HERMES_API_KEY", "secret-key-of-nobody")
    model_server.play(Reply(401, json.dumps({"error": {"message": "no"}})))
    plan = await load(options(model="tiny", base_url=model_server.url), cwd=tmp_path)
    async with Run(plan) as run:
        with pytest.raises(InfrastructureError, match="refused the key"):
            async for _ in run:
                pass
        assert run.abort_reason is not None
        assert run.abort_reason[0] == "refused"
    assert run.records == []


async def test_what_it_spends_is_told_while_it_goes_on(tmp_path: Path, model_server: ModelServer) -> None:
    model_server.play(completion("Done."))
    plan = await load(options(model="tiny", base_url=model_server.url, limit=2), cwd=tmp_path)
    async with Run(plan) as run:
        assert run.progress.spent.total_tokens == 0
        async for _ in run:
            assert run.progress.spent.total_tokens > 0
    assert (plan.folder.path / MANIFEST).exists() if plan.folder is not None else False


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"concurrency": -1}, "Options.concurrency=-1: must be a whole number of at least 1"),
        ({"concurrency": 2.5}, "Options.concurrency=2.5: must be a whole number of at least 1"),
        ({"limit": 0}, "Options.limit=0: must be a whole number of at least 1"),
        ({"max_cost": "much"}, "Options.max_cost='much': must be an amount of dollars"),
        ({"max_tokens": float("nan")}, "Options.max_tokens=nan: must be a whole number of at least 1"),
        ({"infra_retries": -1}, "Options.infra_retries=-1: must be a whole number, 0 or more"),
        ({"bench": 123}, "Options.bench=123: must be a string, or a list of strings"),
        ({"bench": None}, "Options.bench must name at least one benchmark"),
        ({"validate": "yes"}, "Options.validate='yes': must be True, False or a number of times"),
    ],
)
async def test_a_value_that_does_not_fit_is_told(wrong: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        await load(options(**wrong), cwd=tmp_path)
    assert str(caught.value).startswith(why)


async def test_values_may_be_texts_as_on_the_command_line(tmp_path: Path) -> None:
    plan = await load(options(limit="2", attempts="2", max_cost="1.50", set=["env.max_agent_turns=7"]), cwd=tmp_path)
    assert len(list(plan.attempts())) == 4
    assert plan.benchmarks[0].config.env.max_agent_turns == 7
    assert plan.budget_limits.cost == Decimal("1.50")


async def test_a_run_runs_once(tmp_path: Path) -> None:
    plan = await load(options(limit=1), cwd=tmp_path)
    async with Run(plan) as run:
        assert len([rollout async for rollout in run]) == 1
        with pytest.raises(RuntimeError, match="its attempts run once"):
            await anext(aiter(run))
    with pytest.raises(RuntimeError, match="this run is over"):
        async with run:
            pass
    assert len(run.records) == 1


async def test_attempts_in_flight_end_when_a_budget_is_spent(tmp_path: Path, model_server: ModelServer) -> None:
    """The second answer is on its way while the first one uses the budget up: it is paid for."""
    asked = iter(range(9))

    def script(body: dict[str, Any]) -> Reply:
        return Reply(body=json.dumps(completion("Done.")), mood="late", seconds=1.5 * next(asked))

    model_server.script = script
    plan = await load(
        options(model="tiny", base_url=model_server.url, limit=3, concurrency=2, max_turns=1), cwd=tmp_path
    )
    ended: list[Rollout] = []

    async def all_that_end(run: Run) -> None:
        async for rollout in run:
            ended.append(rollout)  # noqa: PERF401  it ends with an exception

    async with Run(plan) as run:
        with pytest.raises(InfrastructureError, match="budget of 1 turn is spent"):
            await all_that_end(run)
    assert len(ended) == len(run.records) == 2


async def test_two_runs_share_a_folder(tmp_path: Path) -> None:
    plans = [await load(options(run_dir="out"), cwd=tmp_path) for _ in range(2)]

    async def all_of(plan: RunPlan) -> int:
        async with Run(plan) as run:
            return len([rollout async for rollout in run])

    assert await asyncio.gather(*map(all_of, plans)) == [3, 3]
    assert len(list(read_results(tmp_path / "out" / "results.jsonl"))) == 6


async def test_cancelled_while_it_starts(tmp_path: Path) -> None:
    for delay in (0.0, 0.001, 0.003, 0.01):
        plan = await load(options(run_dir="out"), cwd=tmp_path)

        async def enter(plan: RunPlan = plan) -> None:
            async with Run(plan):
                await asyncio.sleep(60)

        entering = asyncio.create_task(enter())
        await asyncio.sleep(delay)
        entering.cancel()
        await asyncio.wait([entering])
    for _ in range(100):  # a thread that was told to end takes a moment
        if "hermes-watchdog" not in (names := [thread.name for thread in threading.enumerate()]):
            break
        await asyncio.sleep(0.02)
    assert "hermes-watchdog" not in names
    assert not await asyncio.to_thread(open_files, tmp_path)


def open_files(below: Path) -> list[str]:
    links = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink() or path.exists()]
    return [link for link in links if link.startswith(str(below))]
